// The table of the runs: flags, losses and metrics.

const LOSSES = "Losses of the last epoch";

function makeCell(name, textContent, scope) {
  return make(name, { textContent, ...(scope && { scope }) });
}

/** Add a table with one column per run. Flags that differ between runs are bold. */
function buildTable() {
  const titles = panels.map(({ title }) => makeCell("th", title, "col"));
  const hasMetrics = panels.some(({ tables }) => tables.some(({ about }) =>
    Object.values(about ?? {}).some(({ arrow }) => arrow)));
  const caption = make("caption", { textContent: "Flags and losses of each run. " + (hasMetrics ?
    "The metrics are from a comparison." : "To add metrics, compare the runs first.") });
  const head = make("thead", {}, make("tr", {}, make("td"), ...titles));
  const table = make("table", {}, caption, head);
  for (const title of new Set(panels.flatMap(({ tables }) => tables.map((one) => one.title)))) {
    table.append(makeGroup(title));
  }
  find("tables").append(table);
}

/** Return the rows of one group, such as the flags, for all runs. */
function makeGroup(title) {
  const groups = panels.map(({ tables }) => tables.find((one) => one.title === title));
  const about = Object.assign({}, ...groups.map((group) => group?.about));
  const isComparable = title !== LOSSES || new Set(panels.map((one) => one.objective)).size === 1;
  const note = isComparable ? noteOn(about) :
    "Not comparable: the runs minimise different objectives.";
  const heading = make("th", { scope: "rowgroup", colSpan: panels.length + 1 }, title);
  if (note) heading.append(makeNote(note));
  const body = make("tbody", {}, make("tr", {}, heading));
  body.classList.toggle("incomparable", !isComparable);
  const columns = groups.map((group) => new Map(group?.rows));
  for (const name of new Set(columns.flatMap((rows) => [...rows.keys()]))) {
    const texts = columns.map((rows) => rows.get(name) ?? "");
    const className = title === "Flags" && new Set(texts).size > 1 ? "differs" : "";
    const cells = texts.map((text) => makeCell("td", text));
    body.append(make("tr", { className }, makeName(name, about[name]), ...cells));
  }
  return body;
}

/** Return the explanation of the arrows if a group of metrics has them. */
function noteOn(about) {
  return Object.values(about).some(({ arrow }) => arrow) ?
    "↑ higher is better, ↓ lower is better, → closer to this number is better" : "";
}

/** Return the first cell of a row: a name, and its definition, which a click opens. */
function makeName(name, about) {
  if (!about) return makeCell("th", name, "row");
  const summary = make("summary", { textContent: `${name} ${about.arrow}` });
  const definition = make("p", { textContent: about.meaning });
  return make("th", { scope: "row" }, make("details", {}, summary, definition));
}
