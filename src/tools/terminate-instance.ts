import { z } from 'zod';
import { presentInstance } from './list-gpu-instances.ts';
import { duration, usd } from './text.ts';
import { defineTool } from './tool.ts';

const name = 'terminate_instance';

export const terminateInstance = defineTool({
  name,
  title: 'Terminate GPU instances',
  effect: 'destroy',
  scope: 'operate',
  recorded: ['instances', 'id', 'name', 'instance_type', 'region', 'status', 'cost_so_far_usd'],
  openWorld: true,
  description:
    'End instances for good: billing stops, the local disk is erased. The first call returns what would be ended and confirm_token; repeat the call with it after the person agreed.',
  input: z.strictObject({
    instances: z.array(z.string().min(1)).min(1).describe('ids or names'),
    confirm_token: z.string().optional(),
  }),
  output: z.object({
    status: z.enum(['confirm_required', 'declined', 'terminating', 'terminated', 'still_running']),
    instances: z.array(z.looseObject({ name: z.string(), status: z.string() })),
    note: z.string(),
    confirm_token: z.string().optional(),
  }),
  async handler({ instances: wanted, confirm_token: token }, context) {
    const { fleet, signal } = context;
    const targets = await fleet.find(wanted, signal);
    const shown = targets.map((instance) => presentInstance(instance, context));
    const confirmed = await context.confirm({
      tool: name,
      subject: targets.map(({ id }) => id).sort(),
      token,
      plan: async () => shown,
      question: () => `Terminate ${shown.map(describe).join('; ')}? What is on their local disks is lost.`,
    });
    if (confirmed.status === 'confirm_required') {
      return {
        status: 'confirm_required' as const,
        instances: shown,
        note: 'Nothing was terminated yet.',
        confirm_token: confirmed.token,
      };
    }
    if (confirmed.status === 'declined')
      return { status: 'declined' as const, instances: shown, note: 'The person declined. Nothing was terminated.' };
    const results = await fleet.terminate(targets, signal);
    const statuses = results.map((result) => result.status);
    const status =
      (['still_running', 'terminating', 'terminated'] as const).find((worst) => statuses.includes(worst)) ??
      'terminated';
    return {
      status,
      instances: results.map((result) => ({ ...presentInstance(result.instance, context), status: result.status })),
      note:
        status === 'still_running'
          ? "Lambda still shows some of them running, and they are billed: try again, or end them in Lambda's console."
          : 'Seen in the list: they are going, and no further minutes are counted.',
    };
  },
  render({ status, instances, note, confirm_token: token }) {
    const lines = instances.map((instance) => `- ${describe(instance)}`).join('\n');
    const next = token ? `\nTo terminate, repeat the call with confirm_token: ${token}` : '';
    return `${status}:\n${lines}\n${note}${next}`;
  },
});

function describe(instance: Record<string, unknown>): string {
  const age = duration(instance.age_seconds === null ? null : Number(instance.age_seconds) * 1000);
  const origin = instance.managed ? '' : ', not launched by Tandem';
  return `${instance.name} (${instance.id}, ${instance.instance_type} in ${instance.region}, ${instance.status}, age ${age}, cost so far ${usd(instance.cost_so_far_usd as number | null)}${origin})`;
}
