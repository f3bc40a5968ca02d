import type { FleetEntry } from '../../src/config/schema.ts';

/** Weekdays from nine to six in New York, unless told otherwise. */
export function entryOf(own: Partial<FleetEntry> = {}): FleetEntry {
  return {
    name: 'analysts',
    model: 'openai/gpt-oss-120b',
    engine: 'vllm',
    types: ['gpu_1x_gh200'],
    regions: null,
    count: 1,
    windows: [{ weekdays: [1, 2, 3, 4, 5], fromMinute: 540, toMinute: 1080 }],
    timeZone: 'America/New_York',
    maxCentsPerHour: null,
    maxContext: null,
    idleMs: null,
    filesystem: null,
    hfTokenEnv: null,
    endpoint: 'tunnel',
    allowCidr: null,
    ...own,
  };
}
