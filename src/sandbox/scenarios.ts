/** What a sandbox has at its start, and how its time runs. */
export interface Scenario {
  /** Seconds of its time in a second. */
  speed: number;
  /** When it begins; null: now. */
  startsAt: string | null;
  /** Whether a machine with a model server runs already, launched by somebody else. */
  hasBox: boolean;
  /** Knobs of Lambda Cloud that are turned from the start, and stay so after a reset. */
  faults: Record<string, unknown>;
  budgets: { dailyUsd: number; monthlyUsd: number; timeZone?: string };
  /** Whether notices are sent to the sandbox's own receiver. */
  hasWebhook: boolean;
  /** What else stands in `tandem.yaml`. */
  yaml: string;
}

/** Prices and capacity of that month are what the sandbox has. */
const mondayMorning = '2026-09-14T08:30:00-04:00';

export const scenarios = {
  usual: {
    speed: 30,
    startsAt: null,
    hasBox: true,
    faults: {},
    budgets: { dailyUsd: 50, monthlyUsd: 1000 },
    hasWebhook: false,
    yaml: '',
  },
  weekday: {
    // A second is a minute.
    speed: 60,
    startsAt: mondayMorning,
    hasBox: false,
    // So that the bill can be compared to the minute: it says when a machine became active, and ends when asked to.
    faults: { shape: { firstHealthy: true }, terminate: { durationMs: 0 } },
    budgets: { dailyUsd: 100, monthlyUsd: 2500, timeZone: 'America/New_York' },
    hasWebhook: true,
    yaml: `fleet:
  - name: analysts
    model: openai/gpt-oss-120b
    types: [gpu_1x_gh200, gpu_1x_h100_sxm5]
    count: 2
    windows: [{days: mon-fri, from: "09:00", to: "18:00"}]
    timeZone: America/New_York
    maxHourlyUsd: 4.5
`,
  },
} as const satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof scenarios;
