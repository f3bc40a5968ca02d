import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // Two keep a small machine busy; the third fills the time in which others wait for real processes and clocks.
    maxWorkers: 3,
  },
});
