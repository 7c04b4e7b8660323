"""Medians, ratios, and the table."""
import statistics

COLUMNS = [("iops", "IOPS", "{:,.0f}"), ("mb_s", "MB/s", "{:,.0f}"), ("p50_us", "p50 µs", "{:,.0f}"),
           ("p99_us", "p99 µs", "{:,.0f}"), ("cpu_us", "CPU µs/req", "{:,.1f}")]


def summary(machine, options, rows, names, samples, syscalls):
    """Everything as plain data: medians per row and server, and nbdgw's ratios to the others."""
    table = []
    for row in rows:
        medians = {}
        for name in names:
            cells = samples[row.name, name]
            medians[name] = {key: statistics.median(cell[key] for cell in cells) for key, _, _ in COLUMNS}
            medians[name]["syscalls"] = syscalls.get((row.name, name))
            medians[name]["samples"] = cells
        table.append({"row": row.name, "servers": medians, "ratios": _ratios(medians)})
    return {"machine": machine, "options": options, "table": table}


def _ratios(medians):
    if "nbdgw" not in medians:
        return {}
    ours = medians["nbdgw"]
    return {name: {"iops": ours["iops"] / other["iops"], "cpu_us": ours["cpu_us"] / other["cpu_us"]}
            for name, other in medians.items() if name != "nbdgw"}


def markdown(result):
    machine = result["machine"]
    options = result["options"]
    lines = [f"{machine['cores']} cores of {machine['model']}, Linux {machine['kernel']}, {machine['date']}; medians of "
             f"{options['rounds']} rounds of {options['seconds']:g} s, {options['clients']} NBD connection(s).", "",
             "| row | server | " + " | ".join(title for _, title, _ in COLUMNS) + " | syscalls/req |",
             "|---|---|" + "---:|" * (len(COLUMNS) + 1)]
    for entry in result["table"]:
        for name, cell in entry["servers"].items():
            values = [form.format(cell[key]) for key, _, form in COLUMNS]
            calls = cell["syscalls"]
            values.append(f"{calls['per_request']:.2f}" if calls else "n/a")
            lines.append(f"| {entry['row']} | {name} | " + " | ".join(values) + " |")
    if any(entry["ratios"] for entry in result["table"]):
        lines += ["", *_ratio_table(result)]
    return "\n".join(lines)


def _ratio_table(result):
    others = list(next(entry["ratios"] for entry in result["table"] if entry["ratios"]))
    yield "| row | " + " | ".join(f"IOPS ÷ {o} | CPU/req ÷ {o}" for o in others) + " |"
    yield "|---|" + "---:|---:|" * len(others)
    for entry in result["table"]:
        cells = [f"{entry['ratios'][o]['iops']:.2f} | {entry['ratios'][o]['cpu_us']:.2f}" for o in others]
        yield f"| {entry['row']} | " + " | ".join(cells) + " |"
