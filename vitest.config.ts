import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // Tests start servers and child processes; two at a time keep a small machine honest.
    maxWorkers: 2,
  },
});
