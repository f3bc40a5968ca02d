import { join } from 'node:path';
import { AllBackends, createFleet, reachSandbox } from './app-fleet.ts';
import { type Clock, systemClock } from './clock.ts';
import { namesOf } from './config/fleet-schema.ts';
import type { Config } from './config/index.ts';
import { AppError } from './errors.ts';
import { LambdaClient } from './lambda/client.ts';
import type { Fleet } from './lambda/fleet.ts';
import { requireAffordableFleet } from './lambda/fleet-budget.ts';
import { readFleetStatus } from './lambda/fleet-status.ts';
import type { Keeper } from './lambda/keeper.ts';
import { Pacer } from './lambda/pacer.ts';
import { createLog, type Log } from './log.ts';
import { usdToNano } from './money.ts';
import { localPrincipal, type Principal } from './principal.ts';
import type { AttemptReport } from './router/attempt.ts';
import { createAgent, OpenAiBackend } from './router/backends/openai.ts';
import { answerWeights } from './router/complexity/answer/weights.ts';
import { applyCalibration, calibrated } from './router/complexity/calibration.ts';
import { scoreByModel } from './router/complexity/scorer.ts';
import { scorerId } from './router/complexity/scorer-id.ts';
import { HealthBook } from './router/health.ts';
import { Router } from './router/router.ts';
import { ShadowRunner } from './router/shadow.ts';
import { Workload } from './router/workload.ts';
import type { Sandbox } from './sandbox/index.ts';
import type { ConnectionLimits, HttpServer } from './server/index.ts';
import { Confirmations } from './tools/confirmation.ts';
import { selectTools } from './tools/index.ts';
import { McpSession } from './tools/mcp.ts';
import { type ResourceEntry, resources } from './tools/resources.ts';
import { AuditTrail } from './usage/audit.ts';
import { Budget } from './usage/budget.ts';
import { Calendar } from './usage/calendar.ts';
import { CalibrationInUse } from './usage/calibration-in-use.ts';
import { Calibrations } from './usage/calibrations.ts';
import { recordComparison } from './usage/comparisons.ts';
import { openDatabase } from './usage/database.ts';
import { InstanceLedger } from './usage/instances.ts';
import type { KeeperCommand, KeeperLock } from './usage/keeper-lock.ts';
import { Ledger } from './usage/ledger.ts';
import { recentPredictions } from './usage/observations.ts';
import { Ratings } from './usage/ratings.ts';
import { Reports } from './usage/report.ts';
import { TokenBook } from './usage/tokens.ts';
import { version } from './version.ts';

export interface AppOptions {
  /** Time as the cloud and the ledger have it; the sandbox's runs fast. */
  clock?: Clock;
  /** The world it lives in, when that is not the real one. */
  sandbox?: Sandbox;
  /** Where the log goes instead of to stderr. */
  writeLog?: (line: string) => void;
  /** What this process is, for those who look who keeps the fleet. */
  command?: KeeperCommand;
  /** For a process that may end at any time: it starts one that keeps the fleet, and stands by. */
  callsWatchdog?: boolean;
  /** False: the fleet is kept by somebody else, or pass by pass. */
  keep?: boolean;
}

export interface SessionOptions {
  onlyTools?: readonly string[] | undefined;
  readOnly?: boolean;
}

/** A whole Tandem, without a client yet. */
export interface App {
  readonly log: Log;
  readonly backends: readonly OpenAiBackend[];
  readonly fleet: Fleet;
  readonly keeper: Keeper;
  readonly tokens: TokenBook;
  readonly audit: AuditTrail;
  readonly keeperLock: KeeperLock;
  /** A session for one client, with the tools that it and its principal may use; the owner's unless told otherwise. */
  createSession(options: SessionOptions & { principal?: Principal }): McpSession;
  /** The gateway and MCP over HTTP; not listening yet. */
  createHttpServer(
    options: SessionOptions & { host?: string; limits?: Partial<ConnectionLimits> },
  ): Promise<HttpServer>;
  close(): Promise<void>;
}

/** Throws what a start with this configuration would refuse. */
export function requireStartable(config: Config, clock: Clock = systemClock): void {
  requireAffordableFleet(config, clock.nowMs());
}

/** Builds everything from a configuration: the only place where services are made. */
export async function createApp(config: Config, options: AppOptions = {}): Promise<App> {
  const { clock = systemClock, sandbox, command = 'stdio', callsWatchdog = false, keep = true, writeLog } = options;
  requireStartable(config, clock);
  const closing = new AbortController();
  const log = createLog(config.logLevel, config.redactor, writeLog);
  const database = await openDatabase(join(config.home, 'tandem.db'));
  const calendar = new Calendar(config.budgets.timeZone);
  const budget = new Budget(config.budgets, calendar, clock);
  const ledger = new Ledger(database, budget, clock, log);
  const instances = new InstanceLedger(database, budget, clock);
  const reports = new Reports(database, budget, calendar, clock);

  const agent = createAgent();
  const { baseUrl, apiKey } = config.lambda;
  const client = apiKey && new LambdaClient({ baseUrl, apiKey, pacer: new Pacer(clock), clock, dispatcher: agent });
  const services = createFleet({
    ...{ config, client, database, budget, calendar, instances, agent, clock, log },
    command: sandbox ? 'sandbox' : command,
    callsWatchdog,
    reach: sandbox ? reachSandbox(sandbox) : null,
  });
  const { fleet, keeper, deployed } = services;
  const backends = config.backends.map((backend) => new OpenAiBackend(backend, agent, log));
  const health = new HealthBook(clock);
  // As with tokens: people's time.
  const calibration = new CalibrationInUse(new Calibrations(database, systemClock), scorerId, systemClock, log);
  let observe: (report: AttemptReport) => void = () => undefined;
  const source = new AllBackends(backends, deployed);
  const { share, budgetUsdPerDay } = config.routing.shadow;
  const shadow = new ShadowRunner({
    share,
    budgetNanoUsdPerDay: usdToNano(budgetUsdPerDay),
    backends: source,
    health,
    ledger,
    scorer: scorerId,
    record: (comparison) => recordComparison(database, comparison),
    clock,
    log,
    observe: (report) => observe(report),
  });
  const workload = new Workload({
    read: (limit) => recentPredictions(database.read, limit),
    correct: (predicted) => applyCalibration(predicted, calibration.calibration),
    serverlessShare: config.routing.serverlessShare,
    clock,
    log,
  });
  // A broken file shows now, and not between a call and its settlement.
  if (config.routing.cascade) answerWeights();
  const router = new Router({
    backends: source,
    workload,
    shadow,
    scorer: calibrated(scoreByModel, calibration),
    health,
    ledger,
    fallbacks: config.routing.fallbacks,
    privacy: config.routing.privacy,
    onStreamLoss: config.routing.onStreamLoss,
    cascade: config.routing.cascade,
    observe: (report) => observe(report),
  });
  const ratings = new Ratings({
    database,
    clock,
    scorer: scorerId,
    tierOf: (backendId, model) => {
      const offers = source
        .list()
        .find(({ id }) => id === backendId)
        ?.models();
      return offers?.find(({ id }) => id === model)?.tier ?? null;
    },
    hide: (text) => config.redactor.scrub(text),
  });
  const audit = new AuditTrail(database, clock);
  // People's time runs at its usual pace, also in the sandbox.
  const confirmations = new Confirmations(systemClock);
  const tokens = new TokenBook(database, systemClock, log);

  await ledger.recover(true);
  await deployed.watch();
  if (keep) keeper.run(closing.signal);
  await calibration.watch();
  for (const { id, unusable } of config.backends)
    if (unusable) log.warn({ backend: id }, `backend ${id} cannot be used: ${unusable}`);
  if (config.fleet.length > 0 && !apiKey)
    log.warn('no Lambda key is configured, so the schedule (fleet) launches nothing');
  log.info(
    {
      version,
      database: database.driver,
      backends: backends.map(({ id }) => id),
      lambda: apiKey !== null,
      sandbox: sandbox?.controlUrl,
    },
    'ready',
  );

  const createSession: App['createSession'] = ({ onlyTools, readOnly = false, principal = localPrincipal }) =>
    new McpSession({
      version,
      tools: selectTools({ readOnly: readOnly || config.readOnly, only: onlyTools }),
      resources: sandbox ? [...resources, sandboxResource(sandbox)] : resources,
      context: {
        principal,
        router,
        fleet,
        reports,
        ratings,
        calendar,
        clock,
        defaultPriority: config.routing.priority,
        defaultQuality: config.routing.quality,
        endpointOf: (instance) => endpointOf(config, instance),
        isTakenName: (name) =>
          config.backends.some(({ id }) => id === name) || config.fleet.flatMap(namesOf).includes(name),
        launcher: services.launcher,
        deployments: services.deployments,
        hunts: services.hunts,
        idleMs: config.deployments.idleMs,
        fleetStatus: (signal) => readFleetStatus({ ...services, entries: config.fleet, clock }, signal),
      },
      confirmations,
      audit,
      redactor: config.redactor,
      log,
      notice: sandbox
        ? 'This is the SANDBOX: an embedded imitation of Lambda Cloud and of model providers. Nothing here is real or costs money, and time runs fast.'
        : null,
    });

  return {
    log,
    backends,
    fleet,
    tokens,
    audit,
    keeper,
    keeperLock: services.lock,
    createSession,
    async createHttpServer({ host = '127.0.0.1', limits, ...session }) {
      // Loaded here: a server on stdio needs none of it, and should not start later for it.
      const { createHttpServer } = await import('./server/index.ts');
      const server = await createHttpServer({
        config,
        readOnly: session.readOnly || config.readOnly,
        router,
        backends: () => source.list(),
        health,
        reports,
        instances,
        tokens,
        checkLedger: () => database.probe(),
        createSession: (principal) => createSession({ ...session, principal }),
        clock: systemClock,
        log,
        host,
        limits,
      });
      observe = server.metrics.attempt;
      return server;
    },
    async close() {
      closing.abort(new AppError('cancelled', 'Tandem is closing.'));
      await keeper.run(closing.signal);
      deployed.close();
      await fleet.close();
      await shadow.close();
      await agent.destroy();
      await ledger.drain();
      await tokens.close();
      await calibration.close();
      await database.close();
    },
  };
}

/** A dedicated backend is taken for the one on a machine when it bears its name or its address. */
function endpointOf(config: Config, instance: { name: string; ip: string | null }): string | null {
  const backend = config.backends.find(
    ({ id, kind, baseUrl }) =>
      kind === 'dedicated' && (id === instance.name || new URL(baseUrl).hostname === instance.ip),
  );
  return backend?.baseUrl ?? null;
}

function sandboxResource({ controlUrl }: Sandbox): ResourceEntry {
  return {
    uri: 'tandem://sandbox',
    name: 'sandbox',
    title: 'Sandbox controls',
    description: 'Where faults of the sandbox are set over HTTP.',
    mimeType: 'application/json',
    scope: 'read',
    read: async () => JSON.stringify({ sandbox: true, control_url: controlUrl }),
  };
}
