const groups = {
  hedging:
    'however assume assumes assuming assumed seem seems might unclear approximately roughly cannot impossible unfortunately perhaps probably',
  however: 'however',
  impossible: 'cannot impossible',
  rounding: 'approximately roughly about round rounded rounding nearest approx',
  because: 'since because',
  total: 'total altogether',
  correction: 'wait mistake apologize apologies apologise sorry recheck reevaluate',
  options: 'option options choice choices',
  lookup: 'wikipedia refer',
  fraction: 'half third quarter fourth fifth',
  percent: 'percent percentage',
  left: 'left remain remaining rest',
  before: 'original originally initial initially before beginning',
  time: 'hour hours minute minutes second seconds day days week weeks month months year years am pm',
  common: 'the a of is to and in each for she he if',
  asks: 'how what find calculate compute determine evaluate which solve express',
  /** Nine letters or more. */
  long: '',
};

type WordGroup = keyof typeof groups;

/** Numbers in words. A half is calculated with as 2 or as 0.5; the whole number stands for both. */
const numberWords: readonly (readonly [words: string, value: number])[] = [
  ['zero', 0],
  ['one', 1],
  ['two half twice double doubles doubled couple pair', 2],
  ['three triple triples tripled thrice third thirds', 3],
  ['four quarter quarters fourth fourths', 4],
  ['five fifth', 5],
  ['six', 6],
  ['seven week weeks', 7],
  ['eight', 8],
  ['nine', 9],
  ['ten', 10],
  ['eleven', 11],
  ['twelve dozen', 12],
  ['fifteen', 15],
  ['twenty', 20],
  ['thirty', 30],
  ['forty', 40],
  ['fifty', 50],
  ['hundred', 100],
  ['thousand', 1_000],
  ['million', 1_000_000],
];

interface Entry {
  groups: number[];
  value: number | null;
  /** After "not" it says that something is missing: "not enough". */
  isMissed: boolean;
}

const groupNames = Object.keys(groups) as WordGroup[];
const places = new Map(groupNames.map((name, at) => [name, at]));
const place = (name: WordGroup): number => places.get(name) ?? 0;
const longGroup = place('long');
const missingGroups = [place('hedging'), place('impossible')];
const lexicon = new Map<string, Entry>();
for (const name of groupNames) for (const word of listed(groups[name])) entryOf(word).groups.push(place(name));
for (const [words, value] of numberWords) for (const word of listed(words)) entryOf(word).value = value;
for (const word of listed('enough specified given provided possible')) entryOf(word).isMissed = true;

const longestListed = Math.max(...[...lexicon.keys()].map((word) => word.length));

/** One pass over a text in lower case: its words by group, and its numbers in words, in order. */
export class Words {
  readonly numbers: number[] = [];
  private readonly counts = new Int32Array(groupNames.length);

  constructor(lower: string) {
    let start = -1;
    let isAfterNot = false;
    for (let at = 0; at <= lower.length; at += 1) {
      const code = lower.charCodeAt(at);
      if (code >= 97 && code <= 122) {
        if (start < 0) start = at;
      } else if (start >= 0) {
        const length = at - start;
        if (length >= 9) this.add(longGroup);
        if (length <= longestListed) {
          const word = lower.slice(start, at);
          const entry = lexicon.get(word);
          if (entry !== undefined) this.note(entry, isAfterNot);
          isAfterNot = word === 'not';
        }
        start = -1;
      }
    }
  }

  count(group: WordGroup): number {
    return this.counts[place(group)] ?? 0;
  }

  has(group: WordGroup): boolean {
    return this.count(group) > 0;
  }

  private note(entry: Entry, isAfterNot: boolean): void {
    for (const group of entry.groups) this.add(group);
    if (entry.value !== null) this.numbers.push(entry.value);
    if (entry.isMissed && isAfterNot) for (const group of missingGroups) this.add(group);
  }

  private add(group: number): void {
    this.counts[group] = (this.counts[group] ?? 0) + 1;
  }
}

function listed(words: string): string[] {
  return words === '' ? [] : words.split(' ');
}

function entryOf(word: string): Entry {
  const entry = lexicon.get(word) ?? { groups: [], value: null, isMissed: false };
  lexicon.set(word, entry);
  return entry;
}
