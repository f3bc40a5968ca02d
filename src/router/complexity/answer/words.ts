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
};

type WordGroup = keyof typeof groups | 'long';

const groupNames = [...(Object.keys(groups) as (keyof typeof groups)[]), 'long' as const];
const [longGroup, hedgingGroup, impossibleGroup] = [
  groupNames.indexOf('long'),
  groupNames.indexOf('hedging'),
  groupNames.indexOf('impossible'),
];
const groupsOf = new Map<string, number[]>();
for (const [at, words] of Object.values(groups).entries()) {
  for (const word of words.split(' ')) groupsOf.set(word, [...(groupsOf.get(word) ?? []), at]);
}

/** After "not", these say that something is missing: "not enough". */
const missingWhatIsNot = new Set(['enough', 'specified', 'given', 'provided', 'possible', 'clear']);

/** Numbers in words. A half is calculated with as 2 or as 0.5; the whole number stands for both. */
const spelled = new Map([
  ...['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'].map(
    (word, value) => [word, value] as const,
  ),
  ...([
    ['fifteen', 15],
    ['twenty', 20],
    ['thirty', 30],
    ['forty', 40],
    ['fifty', 50],
    ['hundred', 100],
    ['thousand', 1_000],
    ['million', 1_000_000],
  ] as const),
  ...['half', 'twice', 'double', 'doubles', 'doubled', 'couple', 'pair'].map((word) => [word, 2] as const),
  ...['triple', 'triples', 'tripled', 'thrice', 'third', 'thirds'].map((word) => [word, 3] as const),
  ...['quarter', 'quarters', 'fourth', 'fourths'].map((word) => [word, 4] as const),
  ...([
    ['fifth', 5],
    ['week', 7],
    ['weeks', 7],
    ['dozen', 12],
  ] as const),
]);

/** One pass over a text in lower case: its words by group, and its numbers in words. */
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
        continue;
      }
      if (start < 0) continue;
      const length = at - start;
      if (length >= 9) this.add(longGroup);
      if (length <= 13) {
        const word = lower.slice(start, at);
        for (const group of groupsOf.get(word) ?? []) this.add(group);
        if (isAfterNot && missingWhatIsNot.has(word)) {
          this.add(hedgingGroup);
          if (word !== 'clear') this.add(impossibleGroup);
        }
        isAfterNot = word === 'not';
        const value = spelled.get(word);
        if (value !== undefined) this.numbers.push(value);
      }
      start = -1;
    }
  }

  count(group: WordGroup): number {
    return this.counts[groupNames.indexOf(group)] ?? 0;
  }

  has(group: WordGroup): boolean {
    return this.count(group) > 0;
  }

  private add(group: number): void {
    this.counts[group] = (this.counts[group] ?? 0) + 1;
  }
}
