export const dailyUsd = 8;
export const maxReplacements = 2;
export const capHours = 4;

/** `tandem.yaml` of a life: a budget that is soon used up, short leases, and perhaps one window of a schedule. */
export function yaml(url: string, scheduled: boolean): string {
  const entry = `
fleet:
  - name: desk
    model: openai/gpt-oss-120b
    types: [gpu_1x_gh200]
    windows: [{days: mon, from: "10:00", to: "11:30"}]
    maxHourlyUsd: 3
`;
  return `serverless:
  - id: cheap
    baseUrl: ${url}/serverless/v1
    apiKeyEnv: SANDBOX_KEY
    models: [{id: small-8b, tier: small, contextWindow: 32768, price: {inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08}}]
budgets: {dailyUsd: ${dailyUsd}, monthlyUsd: 1000, timeZone: Etc/UTC}
leases: {defaultHours: 1, capHours: ${capHours}}
deployments: {idleMinutes: 30, maxReplacements: ${maxReplacements}, drainSeconds: 60}
${scheduled ? entry : ''}`;
}
