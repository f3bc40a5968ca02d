import { describe, expect, it } from 'vitest';
import { gpu, hourMs, type Kept, type KeptOptions, minuteMs, startKept } from './kept.ts';

const day = '2026-11-23';
const at = (time: string) => Date.parse(`${day}T${time}:00Z`);

function fleet(windows: string, more = ''): string {
  return `fleet:\n  - {name: analysts, model: openai/gpt-oss-120b, types: [${gpu}], timeZone: Etc/UTC, windows: [${windows}]${more}}\n`;
}

const office = '{days: daily, from: "12:00", to: "14:00"}';

function start(yaml = fleet(office), options: KeptOptions = {}): Promise<Kept> {
  return startKept({ yaml, start: `${day}T11:30:00Z`, ...options });
}

/** Passes until then, the more of them the nearer it is to what is looked at. */
async function untilTime(kept: Kept, time: string, everyMs?: number): Promise<void> {
  await kept.elapse(Math.max(0, at(time) - kept.clock.nowMs()), undefined, everyMs);
}

describe('a window of the schedule', () => {
  it('is opened ahead, by as long as such a machine usually takes', async () => {
    const kept = await start();
    await untilTime(kept, '11:44');
    expect(kept.ours()).toEqual([]);
    await untilTime(kept, '11:46');
    expect(kept.ours()).toHaveLength(1);
    await untilTime(kept, '12:00');
    expect((await kept.deployment())?.state).toBe('ready');
    expect((await kept.ask()).result.backend).toBe('analysts');
  });

  it('is opened ahead by as long as the last machines of the type took', async () => {
    const kept = await start(
      fleet('{days: daily, from: "12:00", to: "13:00"}, {days: daily, from: "15:00", to: "16:00"}'),
    );
    await untilTime(kept, '14:52', 10_000);
    expect(kept.ours()).toHaveLength(1);
    await untilTime(kept, '14:57');
    expect(kept.ours()).toHaveLength(2);
    await untilTime(kept, '15:01');
    expect((await kept.deployment())?.state).toBe('ready');
  });

  it('has as many machines as its count says, each a backend of its own', async () => {
    const kept = await start(fleet(office, ', count: 2'));
    await untilTime(kept, '12:01');
    for (const name of ['analysts-1', 'analysts-2']) expect((await kept.ask(name)).result.backend).toBe(name);
    expect(kept.ours()).toHaveLength(2);
    const { result } = await kept.call('fleet_status');
    expect(result.schedules).toMatchObject([{ name: 'analysts', wanted: 2, ready: 2 }]);
  });

  it('drains before its end, and nothing is left after it', async () => {
    const kept = await start(fleet(office, ', count: 2'));
    await untilTime(kept, '13:57', 15_000);
    expect(await kept.stateIs('ready', 'analysts-1')()).toBe(true);
    await untilTime(kept, '13:59');
    expect(await kept.stateIs('ready', 'analysts-1')()).toBe(false);
    await untilTime(kept, '14:00');
    expect(kept.alive()).toEqual([]);
    await untilTime(kept, '14:10', 15_000);
    expect(kept.ours()).toHaveLength(2);
    expect((await kept.rows('deployment')).map(({ state, reason }) => [state, reason])).toEqual([
      ['ended', 'window'],
      ['ended', 'window'],
    ]);
    expect(kept.keysOf()).toEqual([]);
  });

  it('is filled once: what ended by hand does not come back, and does with the next window', async () => {
    const kept = await start(
      fleet('{days: daily, from: "12:00", to: "13:00"}, {days: daily, from: "15:00", to: "16:00"}'),
    );
    await untilTime(kept, '12:05');
    await kept.confirmed('terminate_instance', { instances: ['analysts'] });
    await untilTime(kept, '13:10', 15_000);
    expect(kept.ours()).toHaveLength(1);
    await untilTime(kept, '15:05', 15_000);
    expect((await kept.deployment())?.state).toBe('ready');
  });

  it('that began while nobody kept is opened late', async () => {
    const kept = await start(fleet(office), { start: `${day}T13:00:00Z` });
    await kept.passUntil(kept.stateIs('ready'), 10 * minuteMs);
    await untilTime(kept, '14:00', 15_000);
    expect(kept.alive()).toEqual([]);
  });

  it('is not opened for what is left of it when a machine would not be ready before its end', async () => {
    const kept = await start(fleet(office), { start: `${day}T13:50:00Z` });
    await untilTime(kept, '14:05');
    expect(kept.ours()).toEqual([]);
  });

  it('without capacity from its start to its end stays empty, and that is told', async () => {
    const kept = await start();
    kept.faults({ capacity: { [gpu]: [] } });
    await untilTime(kept, '14:05', 15_000);
    expect(kept.launchesSent()).toBe(0);
    expect(await kept.deployment()).toMatchObject({ state: 'ended', reason: 'no_capacity' });
    expect(await kept.noticed('capacity_given_up')).toHaveLength(1);
  });

  it('is filled when capacity comes in the middle of it', async () => {
    const kept = await start();
    kept.faults({ soldOutUntilMs: { [gpu]: at('13:00') } });
    await untilTime(kept, '13:10', 15_000);
    expect((await kept.deployment())?.state).toBe('ready');
    await untilTime(kept, '14:00');
    expect(kept.alive()).toEqual([]);
  });

  it('that follows another without a gap is kept as well, by a machine of its own', async () => {
    const kept = await start(
      fleet('{days: daily, from: "12:00", to: "13:00"}, {days: daily, from: "13:00", to: "14:00"}'),
    );
    await untilTime(kept, '12:55', 15_000);
    expect((await kept.deployment())?.state).toBe('ready');
    await kept.passUntil(async () => (await kept.deployment())?.slot === 'analysts/1@2026-11-23T13:00:00Z');
    await kept.passUntil(kept.stateIs('ready'));
    expect(kept.clock.nowMs() - at('13:00')).toBeLessThan(10 * minuteMs);
    await untilTime(kept, '14:00', 15_000);
    expect(kept.alive()).toEqual([]);
    expect(kept.ours()).toHaveLength(2);
  });
});

describe('a clock that jumps', () => {
  it('over a whole window opens nothing, and back again leaves one machine at most', async () => {
    const kept = await start();
    kept.faults({ pacing: { enabled: false } });
    await kept.pass();
    kept.clock.jump(4 * hourMs);
    await kept.elapse(minuteMs);
    expect(kept.ours()).toEqual([]);
    kept.clock.jump(-4 * hourMs);
    await untilTime(kept, '12:05');
    expect((await kept.deployment())?.state).toBe('ready');
    expect(kept.ours()).toHaveLength(1);
  });

  it('out of a window ends its machine, and back into it does not launch another', async () => {
    const kept = await start();
    kept.faults({ pacing: { enabled: false } });
    await untilTime(kept, '12:05');
    kept.clock.jump(4 * hourMs);
    await kept.passUntil(kept.stateIs('ended'));
    kept.clock.jump(-4 * hourMs);
    await kept.elapse(30 * minuteMs);
    expect(kept.ours()).toHaveLength(1);
    expect((await kept.deployment())?.state).toBe('ended');
  });

  it('back to before the window leaves the machine until the window ends', async () => {
    const kept = await start();
    kept.faults({ pacing: { enabled: false } });
    await untilTime(kept, '12:05');
    kept.clock.jump(-hourMs);
    await kept.elapse(5 * minuteMs);
    expect(kept.ours()).toHaveLength(1);
    await untilTime(kept, '14:00', 15_000);
    expect(kept.alive()).toEqual([]);
  });
});

describe('a configuration that changes while a window is open', () => {
  async function restartWith(kept: Kept, yaml: string) {
    await kept.close();
    kept.configure(yaml);
    return kept.openApp();
  }

  it('drains the machines of an entry that is gone', async () => {
    const kept = await start(fleet(office, ', count: 2'));
    await untilTime(kept, '12:05');
    const next = await restartWith(kept, '');
    await kept.elapse(5 * minuteMs, [next]);
    expect(kept.alive()).toEqual([]);
    expect((await kept.rows('deployment')).map(({ reason }) => reason)).toEqual(['window', 'window']);
  });

  it('stops looking for a machine of an entry that is gone', async () => {
    const kept = await start();
    kept.faults({ capacity: { [gpu]: [] } });
    await untilTime(kept, '12:05');
    const next = await restartWith(kept, '');
    await kept.elapse(minuteMs, [next]);
    kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
    await kept.elapse(5 * minuteMs, [next]);
    expect(kept.launchesSent()).toBe(0);
    expect(await kept.deployment()).toMatchObject({ state: 'ended', reason: 'window' });
  });

  it('drains the machine that a lower count has no place for, and only that', async () => {
    const kept = await start(fleet(office, ', count: 3'));
    await untilTime(kept, '12:05');
    const next = await restartWith(kept, fleet(office, ', count: 2'));
    await kept.elapse(5 * minuteMs, [next]);
    expect(
      kept
        .alive()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['analysts-1', 'analysts-2']);
  });

  it('ends a window when it says so now, earlier or later', async () => {
    const kept = await start();
    await untilTime(kept, '12:05');
    const earlier = await restartWith(kept, fleet('{days: daily, from: "12:00", to: "13:00"}'));
    await kept.elapse(5_000, [earlier]);
    expect((await kept.deployment())?.until_ms).toBe(at('13:00'));
    await earlier.close();
    kept.configure(fleet('{days: daily, from: "12:00", to: "13:30"}'));
    const later = await kept.openApp();
    await kept.elapse(at('13:20') - kept.clock.nowMs(), [later], 15_000);
    expect((await kept.deployment())?.state).toBe('ready');
    await kept.elapse(at('13:30') - kept.clock.nowMs(), [later]);
    expect(kept.alive()).toEqual([]);
    expect(kept.ours()).toHaveLength(1);
  });

  it('keeps a machine until the new end of a window that was made longer than its lease', async () => {
    const kept = await start(fleet('{days: daily, from: "12:00", to: "12:30"}'));
    await untilTime(kept, '12:05');
    const next = await restartWith(kept, fleet('{days: daily, from: "12:00", to: "13:30"}'));
    await kept.elapse(at('13:20') - kept.clock.nowMs(), [next], 15_000);
    expect((await kept.deployment())?.state).toBe('ready');
    await kept.elapse(at('13:30') - kept.clock.nowMs(), [next]);
    expect(kept.alive()).toEqual([]);
    expect(kept.ours()).toHaveLength(1);
  });

  it('looks for a machine until the new end of a window that was made longer', async () => {
    const kept = await start(fleet('{days: daily, from: "12:00", to: "12:30"}'));
    kept.faults({ capacity: { [gpu]: [] } });
    await untilTime(kept, '12:05', 15_000);
    const next = await restartWith(kept, fleet('{days: daily, from: "12:00", to: "13:30"}'));
    await kept.elapse(at('12:45') - kept.clock.nowMs(), [next], 15_000);
    kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
    await kept.elapse(at('13:00') - kept.clock.nowMs(), [next]);
    expect((await kept.deployment())?.state).toBe('ready');
  });

  it('leaves alone what a person has launched', async () => {
    const kept = await start('');
    await kept.deployReady();
    const next = await restartWith(
      kept,
      fleet(office.replace('12:00', '20:00').replace('14:00', '21:00')).replace('analysts', 'others'),
    );
    await kept.elapse(5 * minuteMs, [next]);
    expect((await kept.deployment())?.state).toBe('ready');
  });
});
