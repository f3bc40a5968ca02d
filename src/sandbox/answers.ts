/** What the sandbox's models say. No model runs: a few fitting sentences for the demo, otherwise the truth about it. */
const known: { pattern: RegExp; answer: string }[] = [
  { pattern: /capital of france/i, answer: 'The capital of France is Paris.' },
  {
    pattern: /deadlock|race condition/i,
    answer:
      'The two transactions take the same locks in opposite order. Fix the order (always account with the lower id first), keep the transaction short, and retry on the deadlock error. Proof: a cycle in the wait-for graph needs two edges in opposite directions between ordered nodes, and with a total order on acquisition every edge points upwards, so no cycle can close.',
  },
  {
    pattern: /translate/i,
    answer: 'Bonjour le monde.',
  },
];

/** The answer to a prompt: always the same for the same prompt, and always marked as the sandbox's. */
export function sandboxAnswer(prompt: string): string {
  const found = known.find(({ pattern }) => pattern.test(prompt));
  const words = prompt.trim().split(/\s+/).length;
  const text =
    found?.answer ??
    `Your prompt has ${words} words and begins "${prompt.trim().slice(0, 60)}". A real backend would answer it here.`;
  return `[sandbox] ${text}`;
}
