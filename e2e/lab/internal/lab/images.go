package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
)

// pauseImage holds every pod's namespaces.
const pauseImage = "lab.invalid/pause:1"

// image is one image of the lab: a static binary and what its user may expect
// to find around it. The registry in its name exists nowhere (RFC 2606), so an
// image that was not loaded can come from nowhere else.
type image struct {
	name   string
	binary string // of the build
	path   string // in the image
	env    []string
	shell  bool // bash, also as sh
}

// images are loaded into containerd at every `up` that finds them changed.
var images = []image{
	{name: pauseImage, binary: "pause", path: "/pause"},
	{name: "lab.invalid/seid:v1", binary: "seid", path: "/usr/bin/seid", env: []string{"SEID_VERSION=v1"}, shell: true},
	{name: "lab.invalid/seid:v2", binary: "seid", path: "/usr/bin/seid", env: []string{"SEID_VERSION=v2"}, shell: true},
	{name: "lab.invalid/seid:v3", binary: "seid", path: "/usr/bin/seid", env: []string{"SEID_VERSION=v3"}, shell: true},
	{name: "lab.invalid/seid:crash", binary: "seid", path: "/usr/bin/seid", env: []string{"SEID_VERSION=crash", "SEID_CRASH=1"}, shell: true},
	{name: "lab.invalid/sei-sidecar:v1", binary: "sidecar", path: "/sei-sidecar", env: []string{"SIDECAR_VERSION=v1"}},
	{name: "lab.invalid/sei-sidecar:v2", binary: "sidecar", path: "/sei-sidecar", env: []string{"SIDECAR_VERSION=v2"}},
	{name: "lab.invalid/kube-rbac-proxy:v0.21.0", binary: "rbac-proxy", path: "/kube-rbac-proxy"},
	{name: "lab.invalid/caller:v1", binary: "caller", path: "/caller"},
	{name: seictlImage, binary: seictlBinary, path: "/seictl"},
}

// seictlImage runs the operator. Its binary is not of the lab's build, but the one under test.
const (
	seictlImage  = "lab.invalid/seictl:dev"
	seictlBinary = "seictl"
)

// source is the file that becomes an image's binary.
func (e *Env) source(img image) string {
	if img.binary == seictlBinary {
		return e.Bin
	}
	return e.bin(img.binary)
}

// shellBinary is Debian's package bash-static.
const shellBinary = "/bin/bash-static"

// layer makes the image's one layer. Times are all zero: the same content is
// the same layer, which containerd then keeps once.
func (i image) layer(binary, shell []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{}
	var err error
	add := func(name string, kind byte, mode int64, data []byte, link string) {
		if err != nil {
			return
		}
		err = w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: int64(len(data)), Linkname: link, Format: tar.FormatUSTAR})
		if err == nil {
			_, err = w.Write(data)
		}
	}
	mkdir := func(dir string, mode int64) {
		if !made[dir] {
			made[dir] = true
			add(dir+"/", tar.TypeDir, mode, nil, "")
		}
	}
	mkdir("etc", 0o755)
	add("etc/passwd", tar.TypeReg, 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n"), "")
	add("etc/group", tar.TypeReg, 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"), "")
	mkdir("tmp", 0o1777)
	mkdir("home", 0o755)
	mkdir("home/nonroot", 0o777)
	if i.shell {
		mkdir("bin", 0o755)
		add("bin/bash", tar.TypeReg, 0o755, shell, "")
		add("bin/sh", tar.TypeSymlink, 0o777, nil, "bash")
	}
	inside := strings.TrimPrefix(i.path, "/")
	for n, r := range inside { // each parent
		if r == '/' {
			mkdir(inside[:n], 0o755)
		}
	}
	add(inside, tar.TypeReg, 0o755, binary, "")
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("making the layer of %s: %w", i.name, err)
	}
	return buf.Bytes(), nil
}

// archive writes the image as `docker save` would.
func (i image) archive(out io.Writer, layer []byte) error {
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	env := append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", fmt.Sprintf("LAB_FAULTS_URL=http://%s:%d", BridgeIP, faultsPort)}, i.env...)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{i.path}, "Env": env, "User": "65532:65532", "WorkingDir": "/"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		return fmt.Errorf("encoding the config of %s: %w", i.name, err)
	}
	files := []struct {
		name string
		data []byte
	}{{sum(layer) + ".tar", layer}, {sum(config) + ".json", config}, {name: "manifest.json"}}
	if files[2].data, err = json.Marshal([]map[string]any{{
		"Config": files[1].name, "RepoTags": []string{i.name}, "Layers": []string{files[0].name},
	}}); err != nil {
		return fmt.Errorf("encoding the manifest of %s: %w", i.name, err)
	}
	w := tar.NewWriter(out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return fmt.Errorf("writing the archive of %s: %w", i.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return fmt.Errorf("writing the archive of %s: %w", i.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing the archive of %s: %w", i.name, err)
	}
	return nil
}

// loadImages loads the images whose parts changed since they were last loaded.
// It returns how many that were.
func (e *Env) loadImages() (int, error) {
	file := e.path("images.json")
	loaded := map[string]string{}
	if data, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(data, &loaded); err != nil {
			return 0, fmt.Errorf("reading %s: %w", file, err)
		}
	}
	count := 0
	for _, img := range images {
		source := e.source(img)
		if exeStamp(source) == "" { // it is not built yet
			e.say("warning: no binary %s: image %s only waits", img.binary, img.name)
			source = e.bin("pause")
		}
		stamp, err := img.stamp(source)
		if err != nil {
			return count, err
		}
		if loaded[img.name] == stamp {
			continue
		}
		if err := e.loadImage(img, source); err != nil {
			return count, err
		}
		loaded[img.name] = stamp
		count++
		// After each: what is loaded stays known when the next one fails.
		if err := writeJSON(file, loaded); err != nil {
			return count, err
		}
	}
	return count, nil
}

// stamp changes with anything that makes another image: the binaries, and what
// is put around them, which an image of nothing shows.
func (i image) stamp(source string) (string, error) {
	layer, err := i.layer(nil, nil)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	if err := i.archive(hash, layer); err != nil {
		return "", err
	}
	return fmt.Sprint(exeStamp(source), " ", exeStamp(shellBinary), " ", hex.EncodeToString(hash.Sum(nil))), nil
}

// loadImage makes one image and imports it.
func (e *Env) loadImage(img image, source string) error {
	binary, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("reading the binary of %s: %w", img.name, err)
	}
	var shell []byte
	if img.shell {
		if shell, err = os.ReadFile(shellBinary); err != nil {
			return fmt.Errorf("reading the shell of %s: %w", img.name, err)
		}
	}
	layer, err := img.layer(binary, shell)
	if err != nil {
		return err
	}
	tarball := e.path("tmp", strings.ReplaceAll(path.Base(img.name), ":", "-")+".tar")
	f, err := os.Create(tarball)
	if err != nil {
		return fmt.Errorf("making the archive of %s: %w", img.name, err)
	}
	defer func() { _ = os.Remove(tarball) }()
	err = img.archive(f, layer)
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("writing the archive of %s: %w", img.name, closeErr)
	}
	if err != nil {
		return err
	}
	if _, err := run("", "ctr", "--address", e.socket(), "-n", "k8s.io", "images", "import", tarball); err != nil {
		return fmt.Errorf("loading %s: %w", img.name, err)
	}
	return nil
}
