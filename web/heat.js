// Heat maps over pictures.

// Draws a heat map, rows of numbers from 0 to 1, on a canvas that covers an image. The map belongs to the square input of the
// network: the whole picture on a white square ("pad"), its middle ("crop"), or the picture squeezed into a square ("squish").
export function drawHeat(canvas, image, heat, resize) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [heat[0].length, heat.length];
  const pixels = heat.flatMap((row) => row.flatMap((value) => [255, 60, 0, 185 * value]));
  small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), small.width), 0, 0);
  [canvas.width, canvas.height] = [image.clientWidth, image.clientHeight];
  const scale = Math.min(canvas.width / image.naturalWidth, canvas.height / image.naturalHeight);
  const [width, height] = [scale * image.naturalWidth, scale * image.naturalHeight];
  const side = resize === "crop" ? Math.min(width, height) : Math.max(width, height);
  const [w, h] = resize === "squish" ? [width, height] : [side, side];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
}
