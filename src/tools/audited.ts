import { AppError } from '../errors.ts';
import { requireScope } from '../scope.ts';
import type { AuditEntry, AuditTrail } from '../usage/audit.ts';
import type { Confirm, Confirmed } from './confirmation.ts';
import type { Tool, ToolContext } from './tool.ts';

/** A name is not that long; nobody fills the ledger with one. */
const longestText = 200;

type Result = Awaited<ReturnType<Tool['call']>>;

/**
 * Calls a tool for the principal of the context. What may spend or destroy is written down before it begins, with the
 * yes before anything follows from it, and with its outcome; when it cannot be written down it does not happen.
 * Only the outcome may go unrecorded (`onUnrecorded`): by then it has happened, and the caller is to know.
 */
export async function callAudited(
  tool: Tool,
  input: unknown,
  context: ToolContext,
  audit: AuditTrail,
  onUnrecorded: (error: unknown) => void,
): Promise<Result> {
  const { effect, name, recorded, scope } = tool;
  const { principal } = context;
  if (effect === 'read') {
    requireScope(principal, scope, name);
    return tool.call(input, context);
  }
  const entry = await audit
    .begin({ principal, action: name, effect, subject: keep(input, recorded) })
    .catch((error: unknown) => refuseUnrecorded(error, tool));
  const answers: Confirmed<unknown>['status'][] = [];
  const close: AuditEntry['close'] = (...outcome) => entry.close(...outcome).catch(onUnrecorded);
  try {
    requireScope(principal, scope, name);
    const confirm: Confirm = async (proposal) => {
      const answer = await context.confirm(proposal);
      answers.push(answer.status);
      if (answer.status === 'confirmed') {
        const by = proposal.token === undefined ? 'elicitation' : 'confirm_token';
        const plan = keep(answer.plan, recorded);
        await entry.confirmed(by, plan).catch((error: unknown) => refuseUnrecorded(error, tool));
      }
      return answer;
    };
    const result = await tool.call(input, { ...context, confirm });
    await close(outcomeAfter(answers.at(-1)), keep(result.structured, recorded));
    return result;
  } catch (error) {
    await close(`failed:${error instanceof AppError ? error.code : 'internal_error'}`);
    throw error;
  }
}

/** Says that nothing was done, and what to do about machines that go on costing money meanwhile. */
function refuseUnrecorded(error: unknown, { name, effect }: Tool): never {
  if (!(error instanceof AppError)) throw error;
  const wait = effect === 'destroy' ? " What cannot wait can be ended in Lambda's console." : '';
  throw new AppError(error.code, `${error.message} What cannot be recorded is not done, so ${name} did nothing.`, {
    next: (error.next ?? 'Try again in a moment.') + wait,
    cause: error,
  });
}

/** The last answer decides: after a yes the price may rise, and the plan is put before the person again. */
function outcomeAfter(answer: Confirmed<unknown>['status'] | undefined): 'done' | 'planned' | 'declined' {
  if (answer === 'confirm_required') return 'planned';
  return answer === 'declined' ? 'declined' : 'done';
}

/** The fields that are named, at any depth, and nothing else. */
function keep(value: unknown, names: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((inner) => keep(inner, names));
  if (typeof value === 'string') return value.length > longestText ? `${value.slice(0, longestText)}…` : value;
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([name]) => names.includes(name));
  return Object.fromEntries(kept.map(([name, inner]) => [name, keep(inner, names)]));
}
