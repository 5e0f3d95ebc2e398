// Blocks of numbers that the page carries; src/babelscope/report/explorer/packing.py says how they are packed.

const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
const MISSING = 65535;

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

export async function unpack(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const whole = await new Response(stream).arrayBuffer();
  const start = 4 + new DataView(whole).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(whole, 4, start - 4)));
  const arrays = {};
  for (const [name, [kind, shape, offset]] of Object.entries(header.arrays)) {
    const length = shape.reduce((a, b) => a * b, 1);
    arrays[name] = new ARRAYS[kind](whole, start + offset, length);
  }
  return { header, arrays };
}

// The block of this name, or null if the page has none.
export async function readBlock(name, page = document) {
  const script = page.querySelector(`script[data-block="${name}"]`);
  return script ? unpack(script.textContent.trim()) : null;
}

// A share that was written in 16 bits; NaN where there is none.
export function share(word) {
  return word === MISSING ? NaN : word / (MISSING - 1);
}
