// Where a text is found in the turns, whatever the case of its letters.

/** The places of a text in a list of texts, as `{index, from, to}`; none of an empty one. */
export function hitsIn(texts, query) {
  const wanted = query.trim();
  if (!wanted) {
    return [];
  }
  const pattern = new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replace(/\s+/g, "\\s+"), "giu");
  return texts.flatMap((text, index) =>
    Array.from(text.matchAll(pattern), (found) => ({ index, from: found.index, to: found.index + found[0].length })),
  );
}
