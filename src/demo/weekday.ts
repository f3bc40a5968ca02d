import { compareBills } from './bill.ts';
import { newNotices, nowOf, skip, skipTo, timeOf } from './day.ts';
import { hardPrompt } from './prompts.ts';
import { expect, type Result, type Stage, type Step, until } from './stage.ts';

const everyMs = 250;

/** A day of the schedule in the sandbox's `tandem.yaml`: two machines, 09:00 to 18:00. */
export const weekday: readonly Step[] = [
  {
    title: 'Monday, half past eight: what is planned for today?',
    async play({ call, say }) {
      say.person('What is planned for today?');
      const { result, text } = await call('fleet_status');
      say.answer(text);
      const [schedule] = result.schedules as Result[];
      expect(String(schedule?.next_change).startsWith('opens'), 'a schedule that opens');
    },
  },
  {
    title: 'Ahead of the window its machines are asked for; until they are ready, serverless models answer',
    async play(stage) {
      const { call, say } = stage;
      await skipTo(stage, '08:47');
      await watchUntil(stage, 'two machines', (all) => all.length === 2 && all.every(({ machines }) => machines === 1));
      say.person('A hard one already: how do I get rid of this deadlock? ...');
      const { result, text } = await call('complete', { prompt: hardPrompt });
      say.answer(text);
      expect(result.backend === 'sandbox-serverless', 'an answer from the serverless backend');
      expect(text.includes('analysts-1'), 'a word on the machines that are booting');
    },
  },
  {
    title: 'The GPUs come, and the model on them becomes a backend',
    async play(stage) {
      await watchUntil(stage, 'both to be ready', areReady);
    },
  },
  {
    title: 'The same prompt goes to the dedicated model now',
    async play({ call, say }) {
      say.person('Ask again.');
      const { result, text } = await call('complete', { prompt: hardPrompt });
      say.answer(inBrief(text));
      expect(String(result.backend).startsWith('analysts-') && result.cost_usd === 0, 'an answer from a deployment');
    },
  },
  {
    title: 'A machine dies: the other one answers, and a new one takes its place',
    async play(stage) {
      const { call, say, control, look } = stage;
      await control('/lambda', { vanish: ['analysts-1'] });
      // Read at once, as the bill is.
      await look('fleet_status');
      say.remark(`${timeOf(await nowOf(stage))}: the machine of analysts-1 has vanished from the account.`);
      say.person('And another hard one: prove that the deadlock cannot come back.');
      const { result, text } = await call('complete', { prompt: hardPrompt });
      say.answer(inBrief(text));
      expect(result.backend === 'analysts-2', 'an answer from the machine that is left');
      await watchUntil(stage, 'another machine', (all) => all.some(({ machines }) => machines === 2));
      await skip(stage, 4);
      await watchUntil(stage, 'both to be ready', areReady);
    },
  },
  {
    title: 'What has the webhook been told?',
    async play(stage) {
      const kinds: string[] = [];
      await until(
        'the notices to arrive',
        async () => {
          for (const { kind, line } of await newNotices(stage)) {
            stage.say.answer(line);
            kinds.push(kind);
          }
          return kinds.filter((kind) => kind === 'ready').length === 3 && kinds.includes('boot_failed');
        },
        everyMs,
      );
    },
  },
  {
    title: 'The window closes at 18:00: the machines are drained, and gone',
    async play(stage) {
      await skipTo(stage, '17:57');
      await watchUntil(stage, 'the deployments to end', (all) => all.every(({ state }) => state === 'ended'));
      const { instances } = (await stage.look('list_gpu_instances')) as { instances: Result[] };
      expect(
        instances.every(({ status }) => status === 'terminated'),
        'no machine that is still there',
      );
      stage.say.answer(`${timeOf(await nowOf(stage))}  no machine is left.`);
    },
  },
  {
    title: 'What has the day cost, and what does the cloud bill?',
    async play(stage) {
      const { call, say } = stage;
      say.person('What did the GPUs cost today?');
      const { result, text } = await call('cost_report', { period: 'today' });
      say.answer(text);
      await compareBills(stage, result);
    },
  },
];

/** An answer that was shown before. */
function inBrief(text: string): string {
  const [answer = '', ...more] = text.split('\n\n');
  return [`${answer.slice(0, 80)}…`, ...more].join('\n\n');
}

interface Deployment {
  name: string;
  state: string;
  /** How many it has had. */
  machines: number;
}

function areReady(deployments: readonly Deployment[]): boolean {
  return deployments.length === 2 && deployments.every(({ state }) => state === 'ready');
}

/** Shows each change of the deployments, with the time, until they are as wanted. */
async function watchUntil(stage: Stage, what: string, isSo: (all: readonly Deployment[]) => boolean): Promise<void> {
  const { look, say } = stage;
  let shown = '';
  say.call('fleet_status', {});
  await until(
    what,
    async () => {
      const all = ((await look('fleet_status')).deployments as Deployment[]).toSorted(byName);
      const line = all.map(({ name, state }) => `${name} ${state}`).join(', ');
      if (line !== shown) say.answer(`${timeOf(await nowOf(stage))}  ${line}`);
      shown = line;
      return isSo(all);
    },
    everyMs,
  );
}

function byName(one: Deployment, other: Deployment): number {
  return one.name < other.name ? -1 : 1;
}
