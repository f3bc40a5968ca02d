import { addTo, type Bag, newBag, slotOf } from './bag.ts';

/**
 * Pieces of words: three neighbouring characters between two spaces, ` th`, `the`, `he `. Roots and endings tell a
 * field of knowledge from words that training has never seen, and survive a typo.
 */
export const pieceBits = 15;

const bag = newBag(pieceBits);

/** Counts the pieces of a text; weigh them next. Reused: good until the next one. */
export function piecesOf(text: string): Bag {
  bag.length = 0;
  let before = none;
  let last = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const now = code < 128 ? (classes[code] ?? 0) : wide;
    if (now === 0) {
      if (before !== none) addPiece(before, last, 0);
      before = none;
    } else {
      if (before !== none) addPiece(before, last, now);
      before = last;
    }
    last = now;
  }
  if (before !== none) addPiece(before, last, 0);
  return bag;
}

const none = -1;
/** All that is beyond ASCII. */
const wide = 63;
const signs = '.,;:!?\'"()[]{}<>=+-*/^_%$&#@|';
/** By character: 0 for space, 1..26 letters, 27..36 digits, then signs; 62 is any other. */
const classes = new Uint8Array(128).map((_, code) => {
  const sign = String.fromCharCode(code).toLowerCase();
  if (sign <= ' ') return 0;
  if (/[a-z]/.test(sign)) return sign.charCodeAt(0) - 96;
  if (/\d/.test(sign)) return 27 + Number(sign);
  const at = signs.indexOf(sign);
  return at < 0 ? 62 : 37 + at;
});

function addPiece(one: number, two: number, three: number): void {
  addTo(bag, slotOf((one << 12) | (two << 6) | three, pieceBits));
}
