// The floor of the benchmark: the least that can turn a custom resource into pods with a hostfile.
//
// It follows one watch. For each NullJob that is added it asks for a headless Service, a ConfigMap and an Indexed Job,
// side by side, and then forgets it: no cache, no queue, no status, no second try. They are called as those of a first
// attempt of a QLoRAJob, so that a template of its pods finds its volumes and its Service here too.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

const apiVersion = "benchmark.qlora.dev/v1"

type metadata struct {
	Namespace, Name, UID, ResourceVersion string
}

type nullJob struct {
	Metadata metadata
	Spec     struct {
		Nodes    int
		Template json.RawMessage
	}
}

type operator struct {
	server          string
	watches, writes *http.Client
}

func main() {
	server := flag.String("server", "", "URL of the API server")
	authority := flag.String("authority", "", "file with the API server's certificate authority")
	certificate := flag.String("certificate", "", "file with the client's certificate")
	key := flag.String("key", "", "file with the client's key")
	flag.Parse()
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile(*authority)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := func() *http.Client {
		settings := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true}}
	}
	operator{*server, client(), client()}.run()
}

// run begins at the newest version and goes on where a watch has ended.
func (o operator) run() {
	version := ""
	for {
		var err error
		if version == "" {
			version, err = o.newestVersion()
		}
		if err == nil {
			version, err = o.follow(version)
		}
		if err != nil {
			log.Print(err)
			time.Sleep(time.Second)
		}
	}
}

func (o operator) newestVersion() (string, error) {
	response, err := o.watches.Get(o.server + "/apis/" + apiVersion + "/nulljobs?limit=1")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var list struct{ Metadata metadata }
	err = json.NewDecoder(response.Body).Decode(&list)
	return list.Metadata.ResourceVersion, err
}

// follow reads one watch to its end and returns the last version that it told.
func (o operator) follow(version string) (string, error) {
	response, err := o.watches.Get(o.server + "/apis/" + apiVersion + "/nulljobs?watch=1&resourceVersion=" + version)
	if err != nil {
		return version, err
	}
	defer response.Body.Close()
	events := json.NewDecoder(response.Body)
	for {
		var event struct {
			Type   string
			Object nullJob
		}
		if err := events.Decode(&event); err != nil {
			if errors.Is(err, io.EOF) {
				return version, nil
			}
			return version, err
		}
		if event.Type == "ERROR" {
			return "", errors.New("the watch is too old")
		}
		version = event.Object.Metadata.ResourceVersion
		if event.Type == "ADDED" {
			o.start(event.Object)
		}
	}
}

func (o operator) start(job nullJob) {
	name, namespace := job.Metadata.Name, job.Metadata.Namespace
	attempt := name + "-1"
	var hosts strings.Builder
	for index := range make([]struct{}, job.Spec.Nodes) {
		fmt.Fprintf(&hosts, `%s-%d.%s slots=1\n`, attempt, index, name)
	}
	head := func(child string) string {
		return fmt.Sprintf(`"metadata":{"name":%q,"ownerReferences":[{"apiVersion":%q,"kind":"NullJob","name":%q,"uid":%q,"controller":true}]}`,
			child, apiVersion, name, job.Metadata.UID)
	}
	go o.create("/api/v1/namespaces/"+namespace+"/services", fmt.Sprintf(
		`{%s,"spec":{"clusterIP":"None","publishNotReadyAddresses":true,"selector":{"job-name":%q}}}`, head(name), attempt))
	go o.create("/api/v1/namespaces/"+namespace+"/configmaps", fmt.Sprintf(
		`{%s,"data":{"hostfile":"%s"}}`, head(attempt), hosts.String()))
	template := string(job.Spec.Template)
	if template == "" {
		container := `{"name":"trainer","image":"trainer","command":["train"],"volumeMounts":[{"name":"job","mountPath":"/job"}]}`
		template = fmt.Sprintf(
			`{"spec":{"subdomain":%q,"restartPolicy":"Never","containers":[%s],"volumes":[{"name":"job","configMap":{"name":%q}}]}}`,
			name, container, attempt)
	}
	go o.create("/apis/batch/v1/namespaces/"+namespace+"/jobs", fmt.Sprintf(
		`{%s,"spec":{"completionMode":"Indexed","completions":%d,"parallelism":%d,"backoffLimit":0,"template":%s}}`,
		head(attempt), job.Spec.Nodes, job.Spec.Nodes, template))
}

func (o operator) create(path, body string) {
	response, err := o.writes.Post(o.server+path, "application/json", strings.NewReader(body))
	if err != nil {
		log.Print(err)
		return
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusCreated {
		log.Printf("%s: %s: %s", path, response.Status, answer)
	}
}
