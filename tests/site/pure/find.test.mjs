import assert from "node:assert/strict";
import { test } from "node:test";

import { hitsIn } from "../../../site/find.js";

test("every place of a text is found, in any case, as text and not as a pattern", () => {
  for (const [texts, query, hits] of [
    [["one two One", "TWO"], "one", [[0, 0, 3], [0, 8, 11]]],
    [["a.b", "axb"], "a.b", [[0, 0, 3]]],
    [["(x) [y] 50% a-b/c"], "[y] 50% a-b/c", [[0, 4, 17]]],
    [["two\n words"], "two words", [[0, 0, 10]]],
    [["मुझे मदद चाहिए"], "मदद", [[0, 5, 8]]],
    [["İstanbul is"], "is", [[0, 9, 11]]],
    [["anything"], "  ", []],
    [[], "x", []],
  ]) {
    assert.deepEqual(hitsIn(texts, query).map(({ index, from, to }) => [index, from, to]), hits, query);
  }
});
