// The state of the page in the fragment of its address, so that a link reproduces the view.
//
// The fragment has one parameter per field below that differs from the page's first state. The
// value of a parameter has one or more rows of numbers: view=0,0,3;1,1,2.

const offsetsCount = panels.reduce((sum, { offsets }) => sum + offsets.length, 0);

/** The fields, with the number of rows (null: any number) and of numbers per row. */
const FIELDS = {
  view: { // one row per panel
    rows: panels.length, columns: 3,
    write: () => panels.map(({ view: { x, y, half } }) => [x, y, half]),
    read: (rows) => panels.forEach((panel, i) => {
      const [x, y, half] = rows[i];
      Object.assign(panel, { view: { ...bounded({ x, y }), half: limited(half) }, stale: true });
    }),
  },
  together: makeSwitch("together"),
  hidden: { // the classes that are not shown: a data set and a label
    rows: null, columns: 2,
    write: () => datasets.flatMap(({ hidden }, k) => [...hidden].map((label) => [k, label])),
    read: (rows) => datasets.forEach((data, k) => {
      const labels = rows.filter(([of, label]) => of === k && data.classes[label]).map((row) => row[1]);
      showClasses(data, [...data.classes.keys()], true);
      showClasses(data, labels, false);
    }),
  },
  sliders: { // of all panels
    rows: 1, columns: offsetsCount,
    write: () => [panels.flatMap(({ offsets }) => offsets)],
    read: ([row]) => panels.flatMap(({ sliders }) => sliders).forEach((slider, k) => {
      slider.value = row[k];
      slider.dispatchEvent(new Event("input"));
    }),
  },
  images: { // A and B: a data set and the number of a test image
    rows: 2, columns: 2,
    write: () => ends.image.map(numberOf),
    read: (rows) => (ends.image = rows.map((row, k) => imageOf(row) ?? ends.image[k])),
  },
  places: { // A and B: x, y and the offsets of the sliders of all panels
    rows: 2, columns: 2 + offsetsCount,
    write: () => ends.place.map(({ x, y, offsets }) => [x, y, ...offsets.flat()]),
    read: (rows) => (ends.place = rows.map(([x, y, ...rest]) =>
      ({ ...bounded({ x, y }), offsets: panels.map(({ offsets }) => rest.splice(0, offsets.length)) }))),
  },
  ends: { // whether A and B are places, and which is set next
    rows: 1, columns: 2,
    write: () => [[Number(ends.kind === "place"), ends.next]],
    read: ([[isPlace, next]]) =>
      Object.assign(ends, { kind: isPlace ? "place" : "image", next: next ? 1 : 0 }),
  },
  frames: {
    rows: 1, columns: 1,
    write: () => [[stripLength()]],
    read: ([[n]]) => {
      find("frames").value = n;
      find("frames").nextElementSibling.textContent = stripLength();
    },
  },
  draws: {
    rows: 1, columns: 1,
    write: () => [[drawsSeed]],
    read: ([[seed]]) => seed !== drawsSeed && drawFromPriors(seed),
  },
  marks: makeSwitch("showDraws"),
  place: {
    rows: 1, columns: 2,
    write: () => [[cursor.x, cursor.y]],
    read: ([[x, y]]) => moveCursor({ x, y }),
  },
  image: { // the last three fields are about the cursor, which is on one of them at most
    rows: null, columns: 2,
    write: () => (cursor.image ? [numberOf(cursor.image)] : []),
    read: ([row]) => row && (cursor.image = imageOf(row)),
  },
  draw: {
    rows: null, columns: 1,
    write: () => (cursor.draw === null ? [] : [[cursor.draw]]),
    read: ([row]) => row && panels[0].draws[row[0]] && (cursor.draw = row[0]),
  },
  along: {
    rows: null, columns: 1,
    write: () => (cursor.along === null ? [] : [[cursor.along]]),
    read: ([row]) => row && (cursor.along = Math.min(1, Math.max(0, row[0]))),
  },
};

function makeSwitch(id) {
  return {
    rows: 1, columns: 1,
    write: () => [[Number(find(id).checked)]],
    read: ([[isOn]]) => (find(id).checked = Boolean(isOn)),
  };
}

/** Return the data set and the number of a test image. */
function numberOf({ data, image }) {
  return [datasets.indexOf(data), data.numbers[image]];
}

/** Return the test image of a data set with a number, or null if the page does not contain it. */
function imageOf([index, number]) {
  const data = datasets[index], image = data ? data.numbers.indexOf(number) : -1;
  return image < 0 ? null : { image, data };
}

function roundedForAddress(value) {
  return Math.abs(value) < 1e-9 ? 0 : Number(value.toPrecision(7));
}

/** Return the text of each field. A row that all rows equal is written once. */
function describeState() {
  return Object.entries(FIELDS).map(([name, { rows, write }]) => {
    const texts = write().map((row) => row.map(roundedForAddress).join(","));
    return [name, rows && new Set(texts).size === 1 ? texts[0] : texts.join(";")];
  });
}

/** Return the rows of a field, or null if the text, which the user can change, is invalid. */
function parseRows(text, { rows, columns }) {
  const found = text ? text.split(";").map((row) => row.split(",").map(Number)) : [];
  const all = rows && found.length === 1 ? new Array(rows).fill(found[0]) : found;
  const isValid = all.every((row) => row.length === columns && row.every(Number.isFinite)) &&
    (rows === null || rows === all.length);
  return isValid ? all : null;
}

/** Set the state that the address describes. */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, text] of firstState) {
    const field = FIELDS[name];
    const rows = parseRows(given.get(name) ?? text, field) ?? parseRows(text, field);
    if (rows) field.read(rows);
  }
  for (const radio of document.querySelectorAll("[name=kind]")) {
    radio.checked = radio.value === ends.kind;
  }
  endsChanged();
}

let firstState = null; // of the page without a fragment
let addressTimer = null;

/** Read the address, now and when it changes. */
function startAddress() {
  firstState = describeState();
  if (location.hash) readAddress();
  addEventListener("hashchange", readAddress);
  addEventListener("change", addressChanged);
}

/** Write the address when the page has not changed for a while. Browsers limit how often. */
function addressChanged() {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(writeAddress, 400);
}

function writeAddress() {
  const texts = new Map(firstState);
  const changed = describeState().filter(([name, text]) => text !== texts.get(name));
  const fragment = changed.map(([name, text]) => `${name}=${text}`).join("&");
  if (fragment === location.hash.slice(1)) return;
  try {
    history.replaceState(null, "", `${location.href.split("#")[0]}${fragment && "#"}${fragment}`);
  } catch { /* some pages that embed this page forbid it, which disables only the links */ }
}
