// Judges values of the chart by its schema, with Ajv. Standard input: {schema, values: [...]}; standard output: for each
// the list of complaints.
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
import path from 'node:path';

const require = createRequire(path.join(process.argv[2], 'package.json'));
const Ajv = require('ajv').default;
const {schema, values} = JSON.parse(readFileSync(0, 'utf8'));
const ajv = new Ajv({allErrors: true, strict: true, strictRequired: false, strictTypes: false});
const validate = ajv.compile(schema);
process.stdout.write(JSON.stringify(values.map(each => {
  validate(each);
  return (validate.errors ?? []).map(
      error => `${error.instancePath} ${error.message} ${error.params.additionalProperty ?? ''}`);
})));
