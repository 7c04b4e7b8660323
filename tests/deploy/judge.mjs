// Judges objects of Kubernetes. Standard input: a JSON list of objects; standard output: a JSON list with the list of
// complaints about each. What is there must be right: the API's schemas (kubernetes-models). What is there must exist:
// its types, as the compiler sees them; the schemas let unknown fields pass.
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
import path from 'node:path';

const folder = process.argv[2];
const require = createRequire(path.join(folder, 'package.json'));
const ts = require('typescript');

// Where the packages have a kind: "v1/Pod", "apps/v1/DaemonSet", "monitoring.coreos.com/v1/PodMonitor".
function modulePath({apiVersion, kind}) {
  const name = apiVersion.startsWith('monitoring.coreos.com/') ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models';
  return `${name}/${apiVersion}/${kind}`;
}

function known(object) {
  try {
    require.resolve(modulePath(object));
    return true;
  } catch {
    return false;
  }
}

function bySchema(object) {
  const Model = require(modulePath(object))[object.kind];
  try {
    new Model(object).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

// One line for each object, so that a complaint's line says whose it is.
function byTypes(objects, complaints) {
  const lines = objects.map((object, n) => known(object) ?
      `import type {I${object.kind} as T${n}} from ${JSON.stringify(modulePath(object))}; ` +
      `export const o${n}: T${n} = ${JSON.stringify(object)};` : '');
  const file = path.join(folder, 'judged.ts');
  const options = {noEmit: true, strict: true, skipLibCheck: true, types: [], module: ts.ModuleKind.NodeNext,
                   moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022};
  const host = ts.createCompilerHost(options);
  const {readFile, fileExists, getSourceFile} = host;
  host.fileExists = name => name === file || fileExists(name);
  host.readFile = name => name === file ? lines.join('\n') : readFile(name);
  host.getSourceFile = (name, version) =>
      name === file ? ts.createSourceFile(name, lines.join('\n'), version) : getSourceFile(name, version);
  const program = ts.createProgram([file], options, host);
  for (const found of [...program.getSemanticDiagnostics(), ...program.getSyntacticDiagnostics()]) {
    const text = ts.flattenDiagnosticMessageText(found.messageText, ' ');
    if (found.file?.fileName !== file) throw new Error(`${found.file?.fileName}: ${text}`);
    complaints[ts.getLineAndCharacterOfPosition(found.file, found.start).line].push(text);
  }
}

const objects = JSON.parse(readFileSync(0, 'utf8'));
const complaints = objects.map(
    object => known(object) ? bySchema(object) : [`there is no ${object.apiVersion} ${object.kind}`]);
byTypes(objects, complaints);
process.stdout.write(JSON.stringify(complaints));
