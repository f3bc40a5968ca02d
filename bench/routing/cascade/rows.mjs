// Reading of routing data: rows with known outcomes, joined with the weak model's answers.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

const readBytes = (file) => {
  const bytes = readFileSync(file);
  return file.endsWith('.gz') ? gunzipSync(bytes) : bytes;
};
const parse = (bytes) =>
  bytes
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/** Rows that have an answer, with `answer`; and a hash over both files' contents. */
export function readAnswered(dataFile, answersFile) {
  const [data, answers] = [readBytes(dataFile), readBytes(answersFile)];
  const answerById = new Map(parse(answers).map(({ id, weak_answer }) => [id, weak_answer]));
  const rows = parse(data)
    .filter(({ id }) => answerById.has(id))
    .map((row) => ({ ...row, answer: answerById.get(row.id) }));
  return { rows, sha256: createHash('sha256').update(data).update(answers).digest('hex') };
}

/** Which of `folds` parts a group of questions belongs to; stable over runs and machines. */
export function foldOf(group, seed, folds) {
  return createHash('sha256').update(`${seed}:${group}`).digest().readUInt32BE(0) % folds;
}
