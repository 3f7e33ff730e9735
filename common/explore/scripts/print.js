// Printing: the page is printed in light colours, with open definitions.

let opened = []; // the definitions that are open only while the page is printed

/** Draw all canvases and definitions as they are printed, or again as they are shown. */
function setPrinted(isPrinted) {
  document.documentElement.classList.toggle("light", isPrinted);
  if (isPrinted) opened = [...document.querySelectorAll("#tables details:not([open])")];
  for (const definition of opened) definition.open = isPrinted;
  // Setting its size empties a canvas. Browsers print the drawing commands of a canvas, and the command
  // that clears the upper canvas would also clear the points below it.
  for (const { pointsCanvas, overlay } of panels) pointsCanvas.width = overlay.width = 0;
  redrawColors();
  draw(); // the browser does not wait for the next frame
}

addEventListener("beforeprint", () => setPrinted(true));
addEventListener("afterprint", () => setPrinted(false));
