export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const half = (sorted.length - 1) / 2;
  return (sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2;
}

/** The median of the rounds with their extremes: `1.20 (1.10 - 1.31)`. */
export function spread(values, digits, unit = '') {
  const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)].map((value) =>
    value.toFixed(digits),
  );
  return values.length === 1 ? `${middle}${unit}` : `${middle}${unit} (${least} - ${most})`;
}

export const whole = (value) => Math.round(value).toLocaleString('en-US');
