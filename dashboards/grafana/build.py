"""Panels, rows and dashboards as Grafana 10 reads them."""
import json

WIDTH = 24  # of Grafana's grid
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


def query(expr, legend="", instant=False, heatmap=False, table=False):
    """One query of a panel. Labels of this target only; the refId is given by the panel."""
    target = {"datasource": DATASOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto",
              "range": not instant, "instant": instant}
    if heatmap or table:
        target["format"] = "heatmap" if heatmap else "table"
    return target


def thresholds(*steps):
    """Colours by value: thresholds(GREEN, (5, YELLOW), (10, RED))."""
    listed = [{"color": step, "value": None} if isinstance(step, str) else {"color": step[1], "value": step[0]}
              for step in steps]
    return {"mode": "absolute", "steps": listed}


def _panel(kind, title, description, unit, queries, width, height, defaults, options, overrides=(), **more):
    targets = [{**target, "refId": chr(ord("A") + i)} for i, target in enumerate(queries)]
    return {"type": kind, "title": title, "description": description, "datasource": DATASOURCE,
            "gridPos": {"h": height, "w": width, "x": 0, "y": 0},
            "fieldConfig": {"defaults": {"unit": unit, **defaults}, "overrides": list(overrides)},
            "options": options, "targets": targets, **more}


def lines(title, description, unit, *queries, width=12, height=8, stack=False, least=0, most=None, steps=None,
          points=False):
    """A time series."""
    custom = {"drawStyle": "line", "lineInterpolation": "stepAfter" if points else "linear", "lineWidth": 1,
              "fillOpacity": 30 if stack else 8, "showPoints": "never", "spanNulls": False,
              "stacking": {"mode": "normal" if stack else "none", "group": "A"}}
    defaults = {"custom": custom, "color": {"mode": "palette-classic"}}
    if least is not None:
        defaults["min"] = least
    if most is not None:
        defaults["max"] = most
    if steps is not None:
        defaults["thresholds"] = thresholds(*steps)
        custom["thresholdsStyle"] = {"mode": "dashed"}
    options = {"legend": {"displayMode": "table", "placement": "bottom", "showLegend": True,
                          "calcs": ["lastNotNull", "max"]},
               "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel("timeseries", title, description, unit, queries, width, height, defaults, options)


def number(title, description, unit, expr, steps, width=4, height=4, legend="", decimals=None):
    """One number, coloured."""
    defaults = {"thresholds": thresholds(*steps), "color": {"mode": "thresholds"}, "noValue": "no data"}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background",
               "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto"}
    return _panel("stat", title, description, unit, [query(expr, legend)], width, height, defaults, options)


def heatmap(title, description, unit, expr, width=12, height=8):
    """How many fell into which bucket of a histogram, over time."""
    options = {"calculate": False, "cellGap": 1, "yAxis": {"axisPlacement": "left", "unit": unit},
               "rowsFrame": {"layout": "auto"}, "showValue": "never",
               "color": {"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "steps": 64},
               "filterValues": {"le": 1e-9}, "legend": {"show": True},
               "tooltip": {"show": True, "yHistogram": True}}
    return _panel("heatmap", title, description, unit, [query(expr, "{{le}}", heatmap=True)], width, height, {},
                  options)


def states(title, description, *queries, width=12, height=8, good=1):
    """What was true when: a bar for each series, coloured by 0 and 1."""
    colours = {1: (GREEN, RED), 0: (RED, GREEN)}[good]
    mapping = {"type": "value", "options": {"1": {"text": "yes", "color": colours[0], "index": 0},
                                            "0": {"text": "no", "color": colours[1], "index": 1}}}
    defaults = {"custom": {"lineWidth": 0, "fillOpacity": 80}, "mappings": [mapping], "color": {"mode": "fixed"}}
    options = {"mergeValues": True, "showValue": "never", "rowHeight": 0.8,
               "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
               "tooltip": {"mode": "single", "sort": "none"}}
    return _panel("state-timeline", title, description, "bool_yes_no", queries, width, height, defaults, options)


def table(title, description, expr, shown, width=12, height=8, unit="none"):
    """The labels `shown` ({label: heading}) of each series now, and its value under the heading "Value"."""
    hidden = {"Time": True, "job": True, "__name__": True}
    organize = {"id": "organize", "options": {"excludeByName": hidden, "renameByName": shown}}
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}}
    return _panel("table", title, description, unit, [query(expr, instant=True, table=True)], width, height,
                  {"custom": {"align": "auto", "filterable": True}}, options, transformations=[organize])


def row(title, *panels):
    return {"title": title, "panels": list(panels)}


def _laid_out(rows):
    """Rows from top to bottom, their panels from left to right, next line where one does not fit."""
    found, y, number_of = [], 0, 1
    for block in rows:
        found.append({"type": "row", "title": block["title"], "collapsed": False, "panels": [], "id": number_of,
                      "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}})
        number_of += 1
        x, y, line = 0, y + 1, 0
        for panel in block["panels"]:
            place = panel["gridPos"]
            if x + place["w"] > WIDTH:
                x, y, line = 0, y + line, 0
            place["x"], place["y"] = x, y
            x, line = x + place["w"], max(line, place["h"])
            found.append({"id": number_of, **panel})
            number_of += 1
        y += line
    return found


def variable(name, label, metric):
    """A list to choose from: the values of the metric's label of this name."""
    asked = f"label_values({metric}, {name})"
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "definition": asked,
            "query": {"query": asked, "refId": f"{name}s"}, "refresh": 2, "sort": 1, "multi": True,
            "includeAll": True,
            "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "hide": 0,
            "regex": "", "skipUrlSync": False, "options": []}


def _datasource_variable():
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
            "refresh": 1, "multi": False, "includeAll": False, "hide": 0, "skipUrlSync": False, "options": [],
            "current": {}}


def _annotations(marks):
    """Vertical lines: {name: (colour, expression, text)}."""
    builtin = {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
               "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard"}
    ours = [{"name": name, "datasource": DATASOURCE, "enable": True, "hide": False, "iconColor": colour, "expr": expr,
             "step": "60s", "titleFormat": name, "textFormat": text} for name, (colour, expr, text) in marks.items()]
    return {"list": [builtin, *ours]}


def dashboard(uid, title, description, variables, rows, marks):
    """`marks` as for _annotations()."""
    links = [{"title": "nbdgw", "type": "dashboards", "tags": ["nbdgw"], "asDropdown": True, "includeVars": True,
              "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}]
    return {"uid": uid, "title": title, "description": description, "tags": ["nbdgw", "storage"], "schemaVersion": 38,
            "version": 1, "editable": True, "graphTooltip": 1, "timezone": "browser", "weekStart": "",
            "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timepicker": {}, "fiscalYearStartMonth": 0,
            "liveNow": False, "links": links, "annotations": _annotations(marks),
            "templating": {"list": [_datasource_variable(), *variables]}, "panels": _laid_out(rows)}


def to_text(found):
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
