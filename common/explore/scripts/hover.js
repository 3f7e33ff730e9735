// The number and class of the nearest test image, shown at the mouse.

/** Show the nearest test image's name beside a mouse that hovers over the plot of a panel. */
function buildHover(panel) {
  const label = make("div", { className: "hover", hidden: true });
  label.setAttribute("aria-hidden", "true"); // the caption below the plot has the same text
  panel.plot.append(label);
  panel.plot.addEventListener("pointermove", ({ pointerType, buttons, clientX, clientY }) => {
    const box = panel.plot.getBoundingClientRect();
    const left = clientX - box.left - panel.plot.clientLeft;
    const top = clientY - box.top - panel.plot.clientTop;
    const image = nearestImage(panel, toPlace(panel, left, top));
    label.hidden = pointerType !== "mouse" || buttons > 0 || image === null;
    if (label.hidden) return;
    label.textContent = nameOf(panel.data, image);
    // The label is on the side of the pointer that has more room
    const [isRight, isLow] = [left > box.width / 2, top > box.height / 2];
    Object.assign(label.style, {
      left: isRight ? "" : `${left + 14}px`, right: isRight ? `${box.width - left + 10}px` : "",
      top: isLow ? "" : `${top + 14}px`, bottom: isLow ? `${box.height - top + 10}px` : "",
    });
  });
  panel.plot.addEventListener("pointerleave", () => (label.hidden = true));
}

/** Return the number and the class of a test image. */
function nameOf({ classes, labels, numbers }, image) {
  const name = classes.length ? `: ${classes[labels[image]].name}` : "";
  return `test image ${numbers[image]}${name}`;
}
