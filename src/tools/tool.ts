import type { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Priority } from '../config/schema.ts';
import type { DeploymentLauncher } from '../lambda/deployment-launch.ts';
import type { Fleet } from '../lambda/fleet.ts';
import type { FleetStatus } from '../lambda/fleet-status.ts';
import type { Principal, Scope } from '../principal.ts';
import type { Router } from '../router/router.ts';
import type { Calendar } from '../usage/calendar.ts';
import type { DeploymentBook } from '../usage/deployments.ts';
import type { HuntBook } from '../usage/hunts.ts';
import type { Ratings } from '../usage/ratings.ts';
import type { Reports } from '../usage/report.ts';
import type { Confirm } from './confirmation.ts';

/**
 * What a tool does to the world. Everything else follows from it: MCP annotations, read-only mode, the README's table.
 * `read` changes nothing, `write` adds to Tandem's own records and costs nothing, `spend` may cost money, `destroy` ends
 * something that cannot be brought back.
 */
export type Effect = 'read' | 'write' | 'spend' | 'destroy';

/** What handlers work with. Built by app.ts; the last two belong to the one call. */
export interface ToolContext {
  /** Who asks. */
  readonly principal: Principal;
  readonly router: Router;
  readonly fleet: Fleet;
  readonly launcher: DeploymentLauncher;
  readonly deployments: DeploymentBook;
  readonly hunts: HuntBook;
  /** How long a deployment may be without work. */
  readonly idleMs: number;
  fleetStatus(signal: AbortSignal): Promise<FleetStatus>;
  readonly reports: Reports;
  readonly ratings: Ratings;
  readonly calendar: Calendar;
  readonly clock: Clock;
  readonly defaultPriority: Priority;
  readonly defaultQuality: number | undefined;
  /** The model server that runs on a machine, by its name or address; null when none is configured. */
  endpointOf(instance: { name: string; ip: string | null }): string | null;
  /** Whether a backend of the configuration, or of its schedule, is called so. */
  isTakenName(name: string): boolean;
  /** Asks the person, or hands out a token and waits for the second call. */
  readonly confirm: Confirm;
  readonly signal: AbortSignal;
}

export interface Tool {
  name: string;
  title: string;
  effect: Effect;
  /** What a principal needs to see and call it. */
  scope: Scope;
  /**
   * The facts of a call that the audit keeps: names of fields, at any depth of arguments, plan and result. All others
   * are left out, so that no prompt, script or token gets in.
   */
  recorded: readonly string[];
  /** Whether it talks to anything outside this process and its ledger. */
  openWorld: boolean;
  description: string;
  input: z.ZodObject;
  output: z.ZodObject;
  /** Runs the call. The result is both: `structuredContent`, and the same facts as text. */
  call(input: unknown, context: ToolContext): Promise<{ structured: Record<string, unknown>; text: string }>;
}

interface ToolDefinition<Input extends z.ZodObject, Output extends z.ZodObject> {
  name: string;
  title: string;
  effect: Effect;
  scope: Scope;
  /** Needed where the effect is `spend` or `destroy`. */
  recorded?: readonly string[];
  openWorld: boolean;
  description: string;
  /** Strict: an argument that does not exist is an error, not silence. */
  input: Input;
  output: Output;
  handler(input: z.output<Input>, context: ToolContext): Promise<z.input<Output>>;
  render(output: z.input<Output>): string;
}

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  definition: ToolDefinition<Input, Output>,
): Tool {
  const { handler, render, recorded = [], ...rest } = definition;
  return {
    ...rest,
    recorded,
    async call(input, context) {
      const output = await handler(input as z.output<Input>, context);
      return { structured: output as Record<string, unknown>, text: render(output) };
    },
  };
}
