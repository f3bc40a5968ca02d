import type { Scope } from '../principal.ts';
import { present, render } from './cost-report.ts';
import { presentInstance } from './list-gpu-instances.ts';
import type { ToolContext } from './tool.ts';

/** Something to read without a call: attached to a chat by the person. */
export interface ResourceEntry {
  uri: string;
  name: string;
  title: string;
  description: string;
  mimeType: string;
  /** What a principal needs to see and read it. */
  scope: Scope;
  read(context: ToolContext): Promise<string>;
}

export const resources: readonly ResourceEntry[] = [
  {
    uri: 'tandem://instances',
    name: 'instances',
    title: 'GPU instances',
    description: 'Instances of the Lambda Cloud account, as list_gpu_instances shows them.',
    mimeType: 'application/json',
    scope: 'read',
    async read(context) {
      const instances = await context.fleet.list(context.signal);
      return JSON.stringify({ instances: instances.map((instance) => presentInstance(instance, context)) }, null, 2);
    },
  },
  {
    uri: 'tandem://report',
    name: 'report',
    title: 'Cost of the last 7 days',
    description: 'cost_report over the last 7 days, by backend.',
    mimeType: 'text/plain',
    scope: 'read',
    async read(context) {
      const nowMs = context.clock.nowMs();
      const report = await context.reports.report(context.calendar.startOfDayBefore(nowMs, 6), nowMs + 1, 'backend');
      return render(present(report, context));
    },
  },
];

/** An everyday ask, offered by clients as a slash command. */
export interface PromptEntry {
  name: string;
  title: string;
  description: string;
  /** Tools that it leads to; it is offered only where they all are. */
  uses: readonly string[];
  arguments: readonly { name: string; description: string; required: boolean }[];
  text(values: Record<string, string>): string;
}

export const prompts: readonly PromptEntry[] = [
  {
    name: 'what_did_we_spend',
    title: 'What did we spend?',
    description: 'A short account of what prompts and GPUs cost.',
    uses: ['cost_report'],
    arguments: [{ name: 'period', description: 'today, 7d or 30d (default 7d)', required: false }],
    text: ({ period = '7d' }) =>
      `Call cost_report for period ${period}. Tell me in a few sentences what we spent, on what, how that compares between serverless and dedicated, and what is left of the budget. Name costs that are unknown.`,
  },
  {
    name: 'get_me_a_gpu',
    title: 'Get me a GPU',
    description: 'Finds and launches the cheapest GPU that fits a purpose.',
    uses: ['list_gpu_types', 'launch_instance', 'list_gpu_instances'],
    arguments: [{ name: 'purpose', description: 'what it is for, e.g. "fine-tuning an 8B model"', required: true }],
    text: ({ purpose = 'an experiment' }) =>
      `I need a GPU for ${purpose}. Look at list_gpu_types (available_only), choose the cheapest that fits and say why, then call launch_instance and show me its plan. Launch only after I agree, and poll list_gpu_instances until it is active.`,
  },
  {
    name: 'return_gpus',
    title: 'Return GPUs that we do not need',
    description: 'Looks for machines that cost money without need.',
    uses: ['list_gpu_instances', 'terminate_instance'],
    arguments: [],
    text: () =>
      'Call list_gpu_instances. For each machine tell me its age, its price and its cost so far. Ask me which ones to end, then call terminate_instance for those and confirm only after I agree.',
  },
];
