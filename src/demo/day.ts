import type { Stage } from './stage.ts';

/** Where the schedule of the sandbox is at home. */
const timeZone = 'America/New_York';
const minuteMs = 60_000;
const wallClock = new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' });

/** `08:47` */
export function timeOf(ms: number): string {
  return wallClock.format(ms);
}

export async function nowOf({ read }: Stage): Promise<number> {
  return Number((await read('')).nowMs);
}

/** Sets the sandbox's clock forward. */
export async function skip(stage: Stage, minutes: number): Promise<void> {
  const nowMs = await nowOf(stage);
  await stage.control('/clock', { advanceMs: Math.round(minutes * minuteMs) });
  stage.say.remark(`Fast-forward: the clock goes from ${timeOf(nowMs)} to ${timeOf(await nowOf(stage))}.`);
}

/** To `time` (`HH:MM`) of the same day, as the clock on the wall has it; on a slow computer it may be past. */
export async function skipTo(stage: Stage, time: string): Promise<void> {
  const minutes = minutesOf(time) - minutesOf(timeOf(await nowOf(stage)));
  if (minutes > 0) await skip(stage, minutes);
}

function minutesOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return hours * 60 + minutes;
}

interface Notice {
  atMs: number;
  body: { text: string; metadata: { event_payload: { kind: string } } };
}

/** What has arrived at the sandbox's receiver since the last look. */
export async function newNotices({ read, notes }: Stage): Promise<{ kind: string; line: string }[]> {
  const { notices } = (await read('/notices')) as unknown as { notices: Notice[] };
  const seen = Number(notes.get('notices') ?? 0);
  notes.set('notices', String(notices.length));
  return notices.slice(seen).map(({ atMs, body }) => ({
    kind: body.metadata.event_payload.kind,
    line: `${timeOf(atMs)}  ${body.metadata.event_payload.kind}: ${body.text}`,
  }));
}
