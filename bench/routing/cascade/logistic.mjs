// Ridge logistic regression by Newton's method. No randomness: equal data give equal weights to the last bit.
const steps = 30;

/**
 * `rows`: arrays of features that are already of like scale; `labels`: 0..1; `shares`: how much each row counts.
 * The penalty is half of `ridge`
 * times the squared weight, by feature; the intercept is free.
 */
export function fitLogistic(rows, labels, shares, ridge) {
  const width = (rows[0]?.length ?? 0) + 1;
  const weights = new Float64Array(width);
  for (let step = 0; step < steps; step += 1) {
    const gradient = new Float64Array(width);
    const curvature = Array.from({ length: width }, () => new Float64Array(width));
    rows.forEach((row, at) => {
      const chance = 1 / (1 + Math.exp(-predict(weights, row)));
      const error = shares[at] * (labels[at] - chance);
      const spread = shares[at] * Math.max(1e-9, chance * (1 - chance));
      for (let i = 0; i < width; i += 1) {
        const x = i === 0 ? 1 : row[i - 1];
        if (x === 0) continue;
        gradient[i] += error * x;
        const line = curvature[i];
        line[0] += spread * x;
        for (let j = 1; j <= i; j += 1) line[j] += spread * x * row[j - 1];
      }
    });
    for (let i = 1; i < width; i += 1) {
      gradient[i] -= ridge[i - 1] * weights[i];
      curvature[i][i] += ridge[i - 1];
    }
    const change = solve(curvature, gradient);
    let largest = 0;
    for (let i = 0; i < width; i += 1) {
      weights[i] += change[i];
      largest = Math.max(largest, Math.abs(change[i]));
    }
    if (largest < 1e-9) break;
  }
  return weights;
}

/** Log odds. */
export function predict(weights, row) {
  let sum = weights[0];
  for (let i = 0; i < row.length; i += 1) sum += weights[i + 1] * row[i];
  return sum;
}

/** Solves A x = b for a symmetric positive A of which the lower half is given (Cholesky); A is overwritten. */
function solve(a, b) {
  const n = b.length;
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = a[i][j];
      for (let k = 0; k < j; k += 1) sum -= a[i][k] * a[j][k];
      a[i][j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / a[j][j];
    }
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i += 1) {
    for (let k = 0; k < i; k += 1) x[i] -= a[i][k] * x[k];
    x[i] /= a[i][i];
  }
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < n; k += 1) x[i] -= a[k][i] * x[k];
    x[i] /= a[i][i];
  }
  return x;
}
