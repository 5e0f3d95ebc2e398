// Text that others wrote: shown as it is, whatever is in it.

const RIGHT_TO_LEFT = new Set(["ar", "arc", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"]);
// Marks that turn or hide text. Joiners stay: scripts need them.
const HIDDEN = /[\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]/gu;
const CONTROL = /[\u0000-\u001f]/gu;
// Characters shown of one text; what is longer is cut around what matters.
const LONGEST = 500;

export function visible(text) {
  return text
    .toWellFormed()
    .replace(CONTROL, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/gu, "\u2421")
    .replace(/[\u0080-\u009f]/gu, "\ufffd")
    .replace(HIDDEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`)
    .replace(/[\u{f0000}-\u{10ffff}]/gu, (c) => visible(String.fromCharCode(c.codePointAt(0) & 0xffff)));
}

export function direction(lang) {
  return RIGHT_TO_LEFT.has(lang.split(/[-_]/u)[0]) ? "rtl" : "ltr";
}

const NAMES = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" });

// A code of a language with its name, such as “hi · Hindi”; the code alone if it is none that is known.
export function named(lang) {
  const known = /^[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_][A-Z]{2})?$/u.test(lang) && NAMES.of(lang.replaceAll("_", "-"));
  return known ? `${lang} · ${known}` : lang;
}

// Properties of an element that holds text of a language, or of one that is not known.
export function spoken(lang) {
  const known = /^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/u.test(lang) && lang !== "und";
  return known ? { lang, dir: direction(lang) } : { dir: "auto" };
}

// The window [from, to) of a text that is shown, around a place of it.
export function shownPart(length, place) {
  if (length <= LONGEST) return [0, length];
  const from = Math.max(0, Math.min(place - LONGEST / 2, length - LONGEST));
  return [from, from + LONGEST];
}

export function percent(share) {
  return `${Math.round(share * 100)}\u00a0%`;
}

export function number(value) {
  return value === null || Number.isNaN(value) ? "–" : value.toFixed(3);
}

// A large count, such as 1.57 M.
export function short(count) {
  for (const [size, sign] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${sign}`;
  return String(count);
}
