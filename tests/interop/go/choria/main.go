// A client as users of go-updater write it: main REPO VERSION TARGET.
package main

import (
	"log"
	"os"

	updater "github.com/choria-io/go-updater"
)

func main() {
	err := updater.Apply(
		updater.SourceRepo(os.Args[1]),
		updater.Version(os.Args[2]),
		updater.TargetFile(os.Args[3]),
	)
	if err != nil {
		log.Fatal(err)
	}
}
