"use strict";
// Elements of the page: finding and making them, and the message of an error.
//
// page.py joins the scripts in a fixed order, so they share one scope and one "use strict". Names
// of classes, data sets and folders are only ever shown as text, with textContent and fillText.

function find(id) {
  return document.getElementById(id);
}

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function makeNote(textContent = "") {
  return make("div", { className: "note", textContent });
}

/** Return a canvas that screen readers read as an image with this label. */
function makePicture(label) {
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

// Browsers may show the page before its scripts run. The sections are hidden until then, so that
// visitors do not see them move when elements are added above them.
document.querySelector("main").hidden = false;

// When the page is built, `explorer` exists. After that, browsers also report harmless errors.
addEventListener("error", ({ message }) => {
  const text = `This browser cannot show the page: ${message}. Try a newer browser.`;
  if (!globalThis.explorer) find("error").textContent = text;
});
