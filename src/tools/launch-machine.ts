import { AppError } from '../errors.ts';
import { newDeploymentId } from '../lambda/deployment-spec.ts';
import type { LaunchPlan, LaunchResult } from '../lambda/fleet.ts';
import { type LaunchWish, planLaunch } from '../lambda/plan.ts';
import type { InstanceType } from '../lambda/schema.ts';
import { hourlyNano, instanceCostNano, nanoToUsd } from '../money.ts';
import type { DeploymentSpec } from '../usage/deployments.ts';
import { backendName, describeServing, requireFit, type ServeInput, serveSpec } from './launch-serve.ts';
import { usd } from './text.ts';
import type { ToolContext } from './tool.ts';

const hourMs = 3_600_000;
/** How long the call waits for Lambda's answer; the launch itself goes on. */
const waitMs = 30_000;

/** A machine to be launched now, priced, and what it is to serve. */
export interface PlannedMachine extends LaunchPlan, Money {
  serves: { spec: DeploymentSpec; type: InstanceType; arithmetic: string } | null;
}

export async function proposeMachine(
  wish: LaunchWish,
  serve: ServeInput | undefined,
  context: ToolContext,
): Promise<PlannedMachine> {
  const { fleet, launcher, signal } = context;
  if (!serve) {
    const plan = await planLaunch(fleet, wish, signal);
    return { ...plan, ...(await moneyFor(plan, context)), serves: null };
  }
  const all = await fleet.types(signal);
  const type = all.find(({ name }) => name === wish.instanceType);
  const arithmetic = type ? requireFit(serve, [type], all) : '';
  const plan = await planLaunch(fleet, { ...wish, name: backendName(wish.name, serve, context) }, signal);
  const regions = wish.region === undefined ? null : [wish.region];
  const terms = { types: [plan.instanceType], regions, maxPriceCentsPerHour: plan.priceCentsPerHour };
  const spec = serveSpec(serve, { ...plan, ...terms }, context);
  await launcher.check(spec);
  return { ...plan, ...(await moneyFor(plan, context)), serves: type ? { spec, type, arithmetic } : null };
}

/** Launches what was agreed to. Waits a little for Lambda's answer. */
export function launchMachine(plan: PlannedMachine, { fleet, launcher, signal }: ToolContext): Promise<LaunchResult> {
  if (!plan.serves) return fleet.launch(plan, waitMs, signal);
  const { spec, type } = plan.serves;
  return launcher.first({ id: newDeploymentId(), name: plan.name, spec, type }, plan, waitMs, signal);
}

/** The yes is used up, but nothing came of it: say both. */
export function nothingLaunched(error: unknown): never {
  if (!(error instanceof AppError)) throw error;
  const { code, cause, next, httpStatus, retryAfterMs } = error;
  throw new AppError(code, `${error.message} Nothing was launched.`, {
    next: `${next ?? ''} Then ask for a new plan: call launch_instance without confirm_token.`.trim(),
    cause,
    ...(httpStatus !== undefined && { httpStatus }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

interface Money {
  budgetLeftTodayNanoUsd: number;
  budgetLeftMonthNanoUsd: number;
}

async function moneyFor(plan: LaunchPlan, { reports, fleet }: ToolContext): Promise<Money> {
  await fleet.quote(plan);
  const { day, month } = await reports.budget();
  return { budgetLeftTodayNanoUsd: day.leftNanoUsd, budgetLeftMonthNanoUsd: month.leftNanoUsd };
}

export function question(plan: PlannedMachine): string {
  const hourly = usd(plan.priceCentsPerHour / 100);
  const serves = plan.serves ? `, to serve ${describeServing(plan.serves.spec, plan.serves.arithmetic)}` : '';
  const script = plan.userData === undefined ? '' : ` It runs this as root when it boots: ${excerpt(plan.userData)}.`;
  return `Launch ${plan.instanceType} (${plan.gpuDescription}) in ${plan.region} as "${plan.name}" for ${hourly} an hour and ${plan.leaseMs / hourMs} h (${usd(worstCaseUsd(plan))} at most), then terminated${serves}? SSH key ${plan.sshKeyName}, image ${plan.imageFamily}${filesystemsIn(plan.filesystemNames)}.${script} Budget left: ${usd(nanoToUsd(plan.budgetLeftTodayNanoUsd))} today, ${usd(nanoToUsd(plan.budgetLeftMonthNanoUsd))} this month.`;
}

export function present(plan: PlannedMachine, { calendar, clock }: ToolContext) {
  const hourly = nanoToUsd(hourlyNano(plan.priceCentsPerHour));
  const leftNanoUsd = Math.min(plan.budgetLeftTodayNanoUsd, plan.budgetLeftMonthNanoUsd);
  return {
    instance_type: plan.instanceType,
    gpu: plan.gpuDescription,
    region: plan.region,
    name: plan.name,
    ssh_key: plan.sshKeyName,
    image_family: plan.imageFamily,
    filesystems: plan.filesystemNames,
    ...(plan.serves && { serves: describeServing(plan.serves.spec, plan.serves.arithmetic) }),
    ...(plan.userData !== undefined && { user_data: excerpt(plan.userData) }),
    price_usd_per_hour: hourly,
    price_usd_per_day: nanoToUsd(instanceCostNano(plan.priceCentsPerHour, 24 * hourMs)),
    lease_hours: plan.leaseMs / hourMs,
    lease_ends_at: calendar.format(clock.nowMs() + plan.leaseMs),
    worst_case_usd: worstCaseUsd(plan),
    budget_left_today_usd: nanoToUsd(plan.budgetLeftTodayNanoUsd),
    budget_left_month_usd: nanoToUsd(plan.budgetLeftMonthNanoUsd),
    budget_lasts_hours: Math.round((nanoToUsd(leftNanoUsd) / hourly) * 10) / 10,
  };
}

/** When nothing ends it before its lease does. */
function worstCaseUsd(plan: LaunchPlan): number {
  return nanoToUsd(instanceCostNano(plan.priceCentsPerHour, plan.leaseMs));
}

export function filesystemsIn(names: readonly string[]): string {
  return names.length > 0 ? `, filesystems ${names.join(', ')}` : '';
}

const longestExcerpt = 300;

/** A boot script as a person can judge it: its beginning, on one line, and its size. */
export function excerpt(userData: string): string {
  const line = JSON.stringify(userData.length > longestExcerpt ? `${userData.slice(0, longestExcerpt)}…` : userData);
  return `${line} (${Buffer.byteLength(userData)} bytes)`;
}

export function noteOn({ status, adopted }: LaunchResult, { serves }: PlannedMachine): string {
  if (status === 'unconfirmed') {
    return 'Lambda has not said yet whether it launched. Do not launch again: Tandem looks for the machine by its tag; list_gpu_instances shows what became of it.';
  }
  const found = adopted ? "Lambda's answer was lost; the machine was found by its tag. " : '';
  if (serves) {
    return `${found}The server is ready 5 to 25 minutes from now; fleet_status shows how far it is. It joins the router by itself, and serverless models answer until then. A bad machine is returned and replaced.`;
  }
  return `${found}Boot takes 3 to 15 minutes; poll list_gpu_instances until it is active. It is billed until terminate_instance or the end of its lease; renew_lease makes that later.`;
}
