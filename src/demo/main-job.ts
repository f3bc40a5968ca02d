import { formatUsd, usdToNano } from '../money.ts';
import { hardPrompt } from './prompts.ts';
import { expect, type Stage, type Step, until } from './stage.ts';

const simplePrompt = 'What is the capital of France?';
const newGpu = 'gpu_1x_a10';

/** From the price list to the returned GPUs. */
export const mainJob: readonly Step[] = [
  {
    title: 'Which GPUs are there, and what do they cost?',
    async play({ call, say }) {
      say.person('Which GPUs under $3 an hour can I get right now?');
      const { result, text } = await call('list_gpu_types', { available_only: true, max_hourly_usd: 3 });
      say.answer(text);
      const types = result.types as { instance_type: string; price_usd_per_hour: number }[];
      expect(
        types.some((type) => type.instance_type === newGpu && type.price_usd_per_hour > 0),
        `${newGpu} with a price`,
      );
    },
  },
  {
    title: 'A simple prompt goes to the cheap serverless model',
    async play({ call, say }) {
      say.person(simplePrompt);
      const { result, text } = await call('complete', { prompt: simplePrompt });
      say.answer(text);
      expect(result.backend === 'sandbox-serverless', 'an answer from the serverless backend');
      expect(Number(result.cost_usd) > 0, 'a cost');
    },
  },
  {
    title: 'Where would a hard one go, and why?',
    async play({ call, say }) {
      say.person('And where would you run my deadlock question? Do not run it yet.');
      const { result, text } = await call('route_explain', { prompt: hardPrompt });
      say.answer(text);
      expect((result.order as string[])[0] === 'sandbox-box/large-70b', 'the dedicated model first');
    },
  },
  {
    title: 'The hard prompt goes to the dedicated model, whose GPU is running already',
    async play({ call, say }) {
      say.person('Run it.');
      const { result, text } = await call('complete', { prompt: hardPrompt });
      say.answer(text);
      expect(
        result.backend === 'sandbox-box' && result.cost_usd === 0,
        'an answer from the dedicated backend at no token cost',
      );
    },
  },
  {
    title: 'Rent another GPU: first the plan with its price, then the yes',
    async play({ call, say, notes }) {
      say.person('Get me another GPU, an A10 will do.');
      const plan = await call('launch_instance', { instance_type: newGpu, max_hourly_usd: 2 });
      say.answer(plan.text);
      expect(plan.result.status === 'confirm_required', 'a plan that waits for a yes');
      say.person('Yes, do it.');
      const launch = await call('launch_instance', {
        instance_type: newGpu,
        max_hourly_usd: 2,
        confirm_token: plan.result.confirm_token,
      });
      say.answer(launch.text);
      expect(
        launch.result.status === 'launching' && typeof launch.result.instance_id === 'string',
        'a launch with an id',
      );
      notes.set('instance', String(launch.result.instance_id));
    },
  },
  {
    title: 'It boots (sandbox time runs 30 times as fast)',
    async play(stage) {
      const { say, notes } = stage;
      let shown = '';
      let isSkipped = false;
      await until('the instance to become active', async () => {
        const instance = await find(stage, notes.get('instance'));
        const line = `${instance?.status}${instance?.ip ? ` at ${instance.ip}` : ', no address yet'}`;
        if (line !== shown)
          say.answer(
            `${line}; age ${instance?.age_seconds} s, cost so far ${formatUsd(usdToNano(Number(instance?.cost_so_far_usd)))}`,
          );
        shown = line;
        if (!isSkipped) {
          isSkipped = true;
          say.remark('Fast-forward: two minutes and a half.');
          await stage.control('/clock', { advanceMs: 150_000 });
        }
        return instance?.status === 'active';
      });
    },
  },
  {
    title: 'The serverless provider breaks, and the person still gets an answer',
    async play({ call, say, control }) {
      await control('/serverless', { behaviour: 'error-503' });
      say.remark('The serverless provider now answers HTTP 503 to everything.');
      say.person('Translate "hello world" to French.');
      const { result, text } = await call('complete', { prompt: 'Translate "hello world" to French.' });
      say.answer(text);
      await control('/serverless', { behaviour: null });
      expect(
        result.backend === 'sandbox-box' && (result.attempts as unknown[]).length > 1,
        'a fallback to the dedicated backend',
      );
    },
  },
  {
    title: 'What has all of that cost?',
    async play({ call, say }) {
      say.person('What did we spend today?');
      const { result, text } = await call('cost_report', { period: 'today', group_by: 'backend' });
      say.answer(text);
      const totals = result.totals as { requests: number; cost_usd: number };
      expect(totals.requests === 3 && totals.cost_usd > 0, 'three requests and a cost in the report');
      expect(text.includes('█'), 'a chart');
    },
  },
  {
    title: 'Give the GPUs back',
    async play(stage) {
      const { call, say, notes } = stage;
      say.person('We are done for today. Return all GPUs.');
      const instances = [notes.get('instance') ?? '', 'sandbox-box'];
      const plan = await call('terminate_instance', { instances });
      say.answer(plan.text);
      expect(plan.result.status === 'confirm_required', 'a question before anything is ended');
      say.person('Yes.');
      const done = await call('terminate_instance', { instances, confirm_token: plan.result.confirm_token });
      say.answer(done.text);
      await until('the instances to be gone', async () => {
        const { result } = await call('list_gpu_instances');
        return (result.instances as { status: string }[]).every(({ status }) => status === 'terminated');
      });
      say.answer('All terminated: nothing is being billed any more.');
    },
  },
];

async function find({ call }: Stage, id: string | undefined): Promise<Record<string, unknown> | undefined> {
  const { result } = await call('list_gpu_instances');
  return (result.instances as Record<string, unknown>[]).find((instance) => instance.id === id);
}
