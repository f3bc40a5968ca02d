import { hashOf } from './scan.ts';

/**
 * Words that say what kind of work is asked for. Each list is one class; a word may be in several. At most 32 lists:
 * a word's classes are the bits of one number. The lists are judgement; what each class is worth was learned.
 */
export const wordClasses = {
  negation: 'not except never false incorrect least without unless neither nor cannot no none lacks lacking',
  question: 'what which who whom whose where when',
  quantity_question: 'many much often far long old',
  which_of: 'following statements statement true correct best likely describes characterized characteristic',
  number_word:
    'one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty sixty hundred thousand million dozen pair couple single',
  multiple:
    'twice double triple times thrice half halves third thirds quarter quarters fourth fifth quadruple halved doubled tripled',
  rate: 'each every per rate speed hourly daily weekly monthly average mph percent percentage ratio interest',
  comparison:
    'more less fewer than greater larger smaller longer shorter taller older younger cheaper higher lower heavier faster slower additional extra most fewest',
  change:
    'remaining left rest remain gave gives give lost loses spent spends spend used uses sold sells bought buys received took takes added eaten ate broke donated saved saves earned earns pays paid increases decreases increased decreased',
  total: 'total altogether combined sum together all overall both entire',
  time: 'second seconds minute minutes hour hours day days week weeks month months year years today yesterday tomorrow morning afternoon evening night weekend weekday monday tuesday wednesday thursday friday saturday sunday ago later after before until then next first third finally afterwards last again',
  money:
    'dollar dollars cent cents cost costs price prices worth pay fee tax discount profit budget salary wage income sale coupon tip change',
  condition: 'if suppose assume assuming given when provided unless whenever only',
  calculate: 'find calculate compute determine evaluate solve simplify estimate express approximate convert obtain',
  proof: 'prove proof show derive deduce demonstrate infer justify verify theorem lemma proposition corollary iff',
  judgement:
    'analyze analyse analysis compare contrast critique assess discuss argue evaluate recommend diagnose tradeoff tradeoffs trade strategy strategic rationale implications why how explain',
  making:
    'design implement build write create develop architect refactor optimize optimise debug plan propose draft generate produce compose',
  simple:
    'translate translation capital define definition spell rephrase rewrite paraphrase grammar synonym summarize summarise list name hello hi hey thanks thank please convert greeting',
  constraint:
    'must should exactly least most without only constraint constraints requirement requirements ensure guarantee avoid require requires required cannot shall',
  mathematics:
    'integer integers polynomial equation equations function functions derivative integral matrix vector vectors theorem prime primes divisible modulo remainder triangle triangles circle radius angle perpendicular parallel coordinates root roots sequence series probability permutation combination combinations graph domain range convergent group ring field homomorphism abelian isomorphic subgroup finite infinite set sets bounded continuous real complex digit digits factor factors exponential logarithm log sin cos tan sqrt frac mean median variance deviation distribution sample hypothesis',
  physics:
    'force velocity acceleration mass energy momentum electric magnetic field wave waves wavelength frequency photon electron electrons proton neutron nucleus charge current voltage resistance circuit capacitor inductor lens mirror light temperature pressure heat entropy thermodynamic gas pendulum friction gravity gravitational kinetic potential torque spring motion oscillation relativity quantum particle density meters joules watts volts ohms kg cm',
  chemistry:
    'acid acids base bases solution molar moles mole molecule molecules atom atoms reaction reactions equilibrium oxidation reduction bond bonds ion ions compound compounds element elements hydrogen oxygen carbon nitrogen sodium chloride ph concentration titration catalyst enthalpy electrons orbital isotope isotopes solubility solvent polymer organic spectrum nmr',
  engineering:
    'steam boiler pump pipe flow beam stress strain load shaft gear heat exchanger turbine reynolds viscosity compressor amplifier transistor transformer motor generator impedance filter signal modulation antenna bandwidth steel concrete fin nozzle duct psi btu lb ft rpm kw dc ac',
  computing:
    'algorithm algorithms code program function array string list tree node nodes stack queue hash database sql query server client thread threads process memory cache byte bytes bit bits binary cpu network tcp ip encryption key protocol compiler python java javascript typescript class method recursion loop boolean xor software api deadlock distributed kubernetes docker regex kernel',
  medicine:
    'patient patients diagnosis symptoms symptom treatment disease diseases syndrome infection infections blood pain examination history mg clinical drug drugs therapy cancer tumor chronic acute heart liver kidney lung artery vein nerve muscle bone fever pressure physician hospital woman man presents virus bacteria vaccine hiv pregnancy fracture',
  biology:
    'cell cells gene genes dna rna protein proteins species evolution population organism organisms plant plants animal animals membrane enzyme enzymes chromosome chromosomes allele alleles mutation mitosis meiosis ecosystem bacteria photosynthesis hormone hormones tissue embryo natural selection phenotype genotype fossil',
  law: 'court plaintiff defendant contract contracts statute liability negligence tort crime criminal murder jury trial evidence constitutional amendment constitution property owner deed landlord tenant offer acceptance breach damages attorney sued sues suit appeal claim jurisdiction law laws legal convicted charged prosecution testimony hearsay',
  commerce:
    'demand supply price prices market markets inflation unemployment gdp monetary fiscal policy interest tax taxes trade tariff elasticity cost marginal monopoly competition firm firms consumer consumers revenue income money bank federal reserve curve output investment currency exchange wage aggregate equilibrium company companies corporation management manager marketing customer customers product products strategy organization organizational employees employee stock stocks bond dividend accounting audit auditor assets liabilities equity depreciation inventory brand advertising leadership stakeholder stakeholders ethics invoice ledger',
  psychology:
    'psychology psychologist psychologists behavior behaviour behavioral cognitive memory learning conditioning personality therapy therapist anxiety depression disorder child children adolescents attachment motivation perception attitude attitudes freud piaget erikson counselor client clients reinforcement stimulus response self intelligence test validity reliability',
  humanities:
    'century war wars king empire revolution president treaty political government democracy religion religious church god moral morally ethics ethical philosophy philosopher argument kant aristotle plato utilitarianism virtue society cultural culture historical passage author colonial soviet union states europe european china chinese roman greek buddhism islam hindu jewish christian',
  fallacy_logic:
    'premise premises conclusion valid invalid fallacy fallacious implies iff tautology predicate proposition symbolic translate interpretation counterexample consistent argument wrong situations scenario',
  everyday:
    'friend friends mother father brother sister family school home house store party book books car dog cat cake pizza apples cookies candy garden teacher students game games movie song dinner lunch breakfast toys birthday water food',
} as const;

export type WordClass = keyof typeof wordClasses;
export const classNames = Object.keys(wordClasses) as WordClass[];

const slots = 8_192;
const keys = new Uint32Array(slots);
const masks = new Uint32Array(slots);
for (const [bit, name] of classNames.entries()) {
  for (const word of wordClasses[name].split(' ')) {
    const slot = slotOf(hashOf(word));
    keys[slot] = hashOf(word);
    masks[slot] = (masks[slot] ?? 0) | (1 << bit);
  }
}

/** The classes of a word, by its hash: bit i is `classNames[i]`. */
export function classesOf(hash: number): number {
  return masks[slotOf(hash)] ?? 0;
}

function slotOf(hash: number): number {
  let slot = hash % slots;
  while (keys[slot] !== 0 && keys[slot] !== hash) slot = (slot + 1) % slots;
  return slot;
}
