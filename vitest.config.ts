import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    globalSetup: ['tests/needs/global-setup.ts'],
    include: ['tests/**/*.test.ts'],
    // Ranks are worker threads, which vitest's own thread pool would nest.
    pool: 'forks',
    testTimeout: 60_000,
  },
});
