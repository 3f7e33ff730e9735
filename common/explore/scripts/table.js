// The table of the runs: flags, losses and metrics.

function makeCell(name, textContent, scope) {
  return make(name, { textContent, ...(scope && { scope }) });
}

/** Add a table with one column per run. Flags that differ between runs are bold. */
function buildTable() {
  const titles = panels.map(({ title }) => makeCell("th", title, "col"));
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...titles)));
  for (const title of new Set(panels.flatMap(({ tables }) => tables.map((one) => one.title)))) {
    table.append(makeGroup(title));
  }
  find("tables").append(table);
  const meanings = panels.flatMap(({ tables }) => tables.map((one) => one.meanings));
  const items = Object.entries(Object.assign({}, ...meanings)).flatMap(([name, text]) =>
    [make("dt", { textContent: name }), make("dd", { textContent: text })]);
  if (!items.length) return;
  const summary = make("summary", { textContent: "What the metrics mean" });
  find("tables").append(make("details", {}, summary, make("dl", {}, ...items)));
}

/** Return the rows of one group, such as the flags, for all runs. */
function makeGroup(title) {
  const heading = make("th", { textContent: title, scope: "rowgroup", colSpan: panels.length + 1 });
  const body = make("tbody", {}, make("tr", {}, heading));
  const columns = panels.map(({ tables }) =>
    new Map(tables.find((one) => one.title === title)?.rows));
  for (const name of new Set(columns.flatMap((rows) => [...rows.keys()]))) {
    const texts = columns.map((rows) => rows.get(name) ?? "");
    const className = title === "Flags" && new Set(texts).size > 1 ? "differs" : "";
    const cells = texts.map((text) => makeCell("td", text));
    body.append(make("tr", { className }, makeCell("th", name, "row"), ...cells));
  }
  return body;
}
