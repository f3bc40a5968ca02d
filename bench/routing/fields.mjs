// Fields of knowledge that tasks of different sources share, by the words of their names.
const fields = {
  law: /law|jurisprudence/,
  psychology: /psychology|human_sexuality/,
  health: /health|medic|nutrition|anatomy|virology|clinical|human_aging/,
  biology: /biology|genetics/,
  chemistry: /chemistry/,
  physics: /physics|astronomy/,
  engineering: /engineering/,
  computing: /computer|machine_learning|security$/,
  economics: /economics|econometrics/,
  business: /business|management|marketing|accounting|public_relations/,
  history: /history/,
  philosophy: /philosophy|moral|logic|religions/,
  math: /math|algebra|statistics/,
};

/** The field of a task, or null. */
export function fieldOf(task) {
  return Object.keys(fields).find((field) => fields[field].test(task.split('/').at(-1))) ?? null;
}
