// The morphing: strips of images on the straight line from A to B, and the animation.

// Ends -------------------------------------------------------------------------

const earlierEnds = []; // the ends before each choice, for undoing

/** Set the next end, A or B, to a place or to its nearest test image. Return whether it is set. */
function chooseEnd(panel, place) {
  const image = nearestImage(panel, place), k = ends.next;
  if (ends.kind === "image" && image === null) return false;
  earlierEnds.push({ ...ends, image: [...ends.image], place: [...ends.place] });
  ends[ends.kind][k] = ends.kind === "image" ? { image, data: panel.data } : placeEnd(place);
  ends.next = 1 - k;
  find("status").textContent = endText(k);
  endsChanged();
  return true;
}

/** Undo the last choice of an end. */
function undoEnd() {
  Object.assign(ends, earlierEnds.pop());
  for (const radio of document.querySelectorAll("[name=kind]")) {
    radio.checked = radio.value === ends.kind;
  }
  endsChanged();
}

function endText(k) {
  const end = ends[ends.kind][k];
  if (ends.kind === "place") return `${"AB"[k]}: ${written(panels[0], end)}`;
  const { classes, labels, numbers } = end.data;
  const name = classes.length ? `, ${classes[labels[end.image]].name}` : "";
  return `${"AB"[k]}: test image ${numbers[end.image]}${name}`;
}

/** Show the ends, and decode the strips again. */
function endsChanged() {
  document.querySelectorAll("[name=end]").forEach((radio, k) => {
    radio.checked = k === ends.next;
    radio.nextElementSibling.textContent = endText(k);
  });
  const isPossible = panels.some(endsOf);
  for (const id of ["along", "play", "save"]) find(id).disabled = !isPossible;
  find("undo").disabled = !earlierEnds.length;
  decodeStrips();
  setAlong(isPossible ? cursor.along : null);
}

// Strips -----------------------------------------------------------------------

/** Return the number of images per strip. */
function stripLength() {
  return Number(find("frames").value);
}

/** Decode the images of all strips, and show each one when it is ready. */
function decodeStrips() {
  const n = stripLength();
  find("strips").style.setProperty("--images", n);
  for (const panel of panels) {
    const { shape } = panel.data, [height, width] = shape, { strip } = panel;
    const across = n * width + (n - 1) * GUTTER, isPossible = endsOf(panel) !== null;
    // Without this condition, the strip would be empty until the new images are decoded
    if (strip.width !== across) [strip.width, strip.height] = [across, height];
    if (!isPossible) strip.getContext("2d").clearRect(0, 0, across, height);
    panel.stripNote.textContent = isPossible ? "" :
      "A or B is an image of another data set. Choose two test images of this data set.";
    for (let k = 0; k < n && isPossible; k++) {
      panel.decode(`strip ${k}`, between(panel, k / (n - 1)), (image) => {
        if (n !== stripLength() || !endsOf(panel)) return; // changed since
        paint(strip, image, shape, k * (width + GUTTER));
      });
    }
  }
}

/** Move the cursor to a share, from 0 to 1, of the line from A to B, or (null) off the line. */
function setAlong(along) {
  cursor.along = along;
  if (along !== null) Object.assign(cursor, { image: null, draw: null });
  if (along === null) pause();
  else find("along").value = along;
  const text = along === null ? "–" : `${Math.round(100 * along)} %`;
  find("along").nextElementSibling.textContent = text;
  for (const panel of panels) moveMarker(panel);
  update();
}

/** Move the marker on a panel's strip to the position of the cursor. */
function moveMarker(panel) {
  const { marker, strip, data } = panel, width = data.shape[1];
  const left = cursor.along * (stripLength() - 1) * (width + GUTTER) + width / 2;
  marker.hidden = cursor.along === null || !endsOf(panel);
  marker.style.left = `${(100 * left) / strip.width}%`;
}

/** Return the position on the line, from 0 to 1, of the image at a share of a strip's width. */
function alongAt({ strip, data }, share) {
  const step = data.shape[1] + GUTTER, last = stripLength() - 1;
  return Math.min(last, Math.max(0, Math.floor((share * strip.width) / step))) / last;
}

// Animation --------------------------------------------------------------------

let playing = null; // the requested frame of the animation, or null

/**
 * Move the cursor from A to B and back in six seconds, repeatedly.
 *
 * If the user prefers reduced motion, show one image of the strip per second instead.
 */
function play() {
  const last = stripLength() - 1;
  const isReduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const duration = isReduced ? 1000 * last : 3000; // milliseconds from A to B
  const started = performance.now() - duration * (find("along").value % 1);
  find("play").textContent = "Pause";
  function step(now) {
    const phase = (Math.max(0, now - started) / duration) % 2;
    const along = phase > 1 ? 2 - phase : phase;
    const shown = isReduced ? Math.round(along * last) / last : along;
    playing = requestAnimationFrame(step);
    if (shown !== cursor.along) setAlong(shown);
  }
  playing = requestAnimationFrame(step);
}

function pause() {
  if (playing === null) return;
  cancelAnimationFrame(playing);
  playing = null;
  find("play").textContent = "Play";
}
