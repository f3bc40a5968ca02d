export const hardPrompt = `Two services deadlock in PostgreSQL: each updates two accounts in one transaction, in different order.
Analyze the root cause step by step, prove that a total order on lock acquisition removes the cycle, compare it with
retrying at SERIALIZABLE isolation, and implement the fix in TypeScript. Constraints:
- transfers must stay atomic
- at most 3 retries, with jitter
- the proof must cover n accounts, not only 2`;
