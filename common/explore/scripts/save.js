// The PNG file of the morphing: all strips, with A, B, the model, the data set and the seed.

const SAVED_SIDE = 112; // pixels of the shorter side of an image, at least
const SAVED_LINE = 30; // pixels per line of text

/** Download all strips as one PNG file. */
function saveStrips() {
  const rows = panels.filter(endsOf).map(savedStrip);
  const canvas = make("canvas"), context = canvas.getContext("2d");
  canvas.width = Math.max(...rows.map(({ width }) => width));
  canvas.height = rows.reduce((sum, { texts, height }) => sum + texts.length * SAVED_LINE + height, 0);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, {
    fillStyle: "#000", font: "20px sans-serif", textBaseline: "middle", imageSmoothingEnabled: false,
  });
  let top = 0;
  for (const { strip, texts, width, height } of rows) {
    for (const text of texts) {
      context.fillText(text, 4, top + SAVED_LINE / 2, canvas.width - 8);
      top += SAVED_LINE;
    }
    context.drawImage(strip, 0, top, width, height);
    top += height;
  }
  canvas.toBlob((blob) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: "morphing.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

/** Return a panel's strip with its size in the file and the lines of text above the strip. */
function savedStrip({ strip, title, about, data }) { // `about` names the data set and the seed
  const scale = Math.ceil(SAVED_SIDE / Math.min(...data.shape.slice(0, 2)));
  const texts = [`${title}: ${about}`, `${endText(0)}. ${endText(1)}`];
  return { strip, texts, width: scale * strip.width, height: scale * strip.height };
}
