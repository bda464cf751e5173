import { join } from "node:path";
import { defineConfig } from "vitest/config";

const ENOUGH = 80;

export default defineConfig({
  test: {
    testTimeout: 30_000, // a busy machine is slow; nothing here waits for a clock
    include: ["tests/**/*.test.ts"],
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      exclude: ["src/**/*.d.ts"],
      reporter: ["text-summary", [join(import.meta.dirname, "coverage-below.cjs"), { enough: ENOUGH }]],
    },
  },
});
