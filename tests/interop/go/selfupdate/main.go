// A client as users of go-selfupdate write it, which replaces itself: main URL CURRENT-VERSION.
package main

import (
	"log"
	"os"

	"github.com/rackerlabs/go-selfupdate/selfupdate"
)

func main() {
	updater := &selfupdate.Updater{
		CurrentVersion: os.Args[2],
		ApiURL:         os.Args[1],
		BinURL:         os.Args[1],
		DiffURL:        os.Args[1],
		Dir:            "update/",
		CmdName:        "tool",
		ForceCheck:     true,
	}
	if err := updater.Update(); err != nil {
		log.Fatal(err)
	}
}
