/**
 * How far predicted chances are from what came true. `chances` and `outcomes` 0..1; deciles of the prediction.
 * Returns the Brier score, that of always saying the mean, and the expected calibration error.
 */
export function reliability(chances, outcomes) {
  const count = chances.length;
  const mean = outcomes.reduce((sum, outcome) => sum + outcome, 0) / count;
  const brier = chances.reduce((sum, chance, at) => sum + (chance - outcomes[at]) ** 2, 0) / count;
  const ofMean = outcomes.reduce((sum, outcome) => sum + (mean - outcome) ** 2, 0) / count;
  const order = chances.map((_, at) => at).sort((one, other) => chances[one] - chances[other]);
  let error = 0;
  for (let decile = 0; decile < 10; decile += 1) {
    const part = order.slice(Math.round((decile * count) / 10), Math.round(((decile + 1) * count) / 10));
    error += Math.abs(part.reduce((sum, at) => sum + chances[at] - outcomes[at], 0)) / count;
  }
  return { brier, ofMean, error };
}
