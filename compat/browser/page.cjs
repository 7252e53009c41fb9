// Opens the page in a real Chromium, looks at it as a person would, and prints
// what it saw as one JSON object: page.cjs URL CHROMIUM SCREENSHOT
// NODE_PATH names the folder that holds playwright-core.
const { chromium } = require("playwright-core");

const [url, executablePath, screenshot] = process.argv.slice(2);

// Numbers are looked at this often, for at most this long.
const every = 100;
const atMost = 60000;

const numbers = (page) => page.evaluate(() => (document.body.innerText.match(/\d[\d,.]*/g) ?? []).join(" "));

// firstChange returns after how many ms the numbers on the page differ from
// what they were, or null.
async function firstChange(page) {
  const before = await numbers(page);
  for (let waited = every; waited <= atMost; waited += every) {
    await page.waitForTimeout(every);
    if ((await numbers(page)) !== before) return waited;
  }
  return null;
}

async function look() {
  let looking = true; // the end of the look cuts the live stream, which is no failure
  const seen = { errors: [], violations: [], failed: [], foreign: [] };
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
    page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("requestfailed", (request) => looking && seen.failed.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on("request", (request) => request.url().startsWith(url) || seen.foreign.push(request.url()));
    page.on("response", (response) => response.status() >= 400 && seen.failed.push(`${response.url()}: ${response.status()}`));
    await page.exposeFunction("reportViolation", (text) => { seen.violations.push(text); });
    await page.addInitScript(() => document.addEventListener("securitypolicyviolation",
      (event) => window.reportViolation(`${event.violatedDirective} ${event.blockedURI}`)));
    const response = await page.goto(url, { waitUntil: "domcontentloaded" });
    seen.status = response.status();
    seen.policy = response.headers()["content-security-policy"] ?? "";
    seen.title = await page.title();
    seen.lang = await page.evaluate(() => document.documentElement.lang);
    seen.firstNumber = await page.waitForFunction(() => /[1-9]/.test(document.body.innerText), null, { timeout: atMost })
      .then(() => true, () => false);
    seen.movedAfter = [await firstChange(page), await firstChange(page)];
    // The planted user is among the top users as soon as its clicks are counted.
    await page.waitForFunction(() => document.body.innerText.includes("id=planted"), null, { timeout: atMost }).catch(() => {});
    seen.hostile = await page.evaluate(() => document.querySelectorAll("#planted").length);
    seen.text = await page.evaluate(() => document.body.innerText);
    await page.screenshot({ path: screenshot, fullPage: true });
    await page.setViewportSize({ width: 375, height: 800 });
    seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  } finally {
    looking = false;
    await browser.close();
  }
  return seen;
}

look().then(
  (seen) => console.log(JSON.stringify(seen)),
  (error) => { console.error(error); process.exit(1); },
);
