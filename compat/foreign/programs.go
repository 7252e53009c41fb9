package foreign

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Versions of what is installed. The JVM's are in install/pom.xml, those of Go
// modules in go.mod.
const (
	KafkaVersion      = "4.3.1"
	kafkajsVersion    = "2.2.4"
	playwrightVersion = "1.65.1"
)

// Python returns the interpreter of a virtual environment that holds packages.
func Python(env string, packages ...string) (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", err
	}
	folder := "venv-" + env
	dir := filepath.Join(Cache(), folder)
	pip := append(step{filepath.Join(dir, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check"}, packages...)
	if dir, err = install(folder, nil, step{python, "-m", "venv", dir}, pip); err != nil {
		return "", err
	}
	return filepath.Join(dir, "bin", "python"), nil
}

// Kafka returns the java command and the class path of Kafka's broker and
// tools.
func Kafka() (java, classPath string, err error) {
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", err
	}
	dir, err := jars("kafka-"+KafkaVersion, "pom.xml")
	return java, filepath.Join(dir, "*"), err
}

// jars is a folder with everything that a pom in install/ names.
func jars(folder, pom string) (string, error) {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", err
	}
	pom = Source("install", pom)
	return install(folder, []string{pom},
		step{mvn, "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory=" + filepath.Join(Cache(), folder)})
}

// Streams compiles the Kafka Streams programs of clients/java and returns the
// java command and their class path.
func Streams() (java, classPath string, err error) {
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", err
	}
	javac, err := exec.LookPath("javac")
	if err != nil {
		return "", "", err
	}
	libraries, err := jars("kafka-streams-"+KafkaVersion, "streams.xml")
	if err != nil {
		return "", "", err
	}
	libraries = filepath.Join(libraries, "*")
	source := Source("clients", "java", "Count.java")
	folder := "java-streams"
	classes, err := install(folder, []string{source},
		step{javac, "-d", filepath.Join(Cache(), folder), "-cp", libraries, source})
	return java, classes + ":" + libraries, err
}

// Node returns the node command and the folder whose node_modules holds
// packages. Modules find them only when the script lies inside that folder, so
// callers run scripts with it as NODE_PATH and `createRequire`.
func Node(env string, packages ...string) (node, dir string, err error) {
	if node, err = exec.LookPath("node"); err != nil {
		return "", "", err
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", "", err
	}
	folder := "node-" + env
	dir, err = install(folder, nil, append(step{npm, "install", "--silent", "--no-audit", "--no-fund",
		"--ignore-scripts", "--prefix", filepath.Join(Cache(), folder)}, packages...))
	return node, dir, err
}

// KafkaJS is Node with the kafkajs package.
func KafkaJS() (node, dir string, err error) { return Node("kafkajs", "kafkajs@"+kafkajsVersion) }

// Playwright is Node with the playwright-core package, which drives a browser
// but brings none.
func Playwright() (node, dir string, err error) {
	return Node("playwright", "playwright-core@"+playwrightVersion)
}

// KCat returns the kcat command, installing Debian's package when it may.
func KCat() (string, error) { return debian("kcat", "kcat") }

// Chromium returns the browser, installing Debian's package when it may.
func Chromium() (string, error) { return debian("chromium", "chromium") }

func debian(command, pkg string) (string, error) {
	if path, err := exec.LookPath(command); err == nil {
		return path, nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return "", fmt.Errorf("%s is not installed, and this is no Debian: %w", command, err)
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is not installed: as root, run apt-get install %s", command, pkg)
	}
	unlock, err := lock("apt")
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := errors.Join(run("/", step{apt, "update", "-qq"}), run("/", step{apt, "install", "-y", "-qq", "--no-install-recommends", pkg})); err != nil {
		return "", err
	}
	return exec.LookPath(command)
}

// GoProgram builds a main package of this module into the cache.
func GoProgram(name, pkg string) (string, error) {
	unlock, err := lock("go-" + name)
	if err != nil {
		return "", err
	}
	defer unlock()
	bin := filepath.Join(Cache(), "compat-bin", name)
	return bin, run(Source(), step{"go", "build", "-o", bin, pkg})
}
