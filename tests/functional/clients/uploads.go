// Uploads that are refused early, sent by Go's HTTP client.
//
// Usage: uploads.go URL-OF-A-FILE TOKEN ROUNDS. It prints each outcome: the status and the reason,
// or the client's error.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

const mib = 1 << 20

type zeros struct{}

func (zeros) Read(buffer []byte) (int, error) {
	for index := range buffer {
		buffer[index] = 0
	}
	return len(buffer), nil
}

// The body is the first bytes and zeros after them.
func upload(url string, token string, first string, length int64, chunked bool) string {
	rest := io.LimitReader(zeros{}, length-int64(len(first)))
	request, err := http.NewRequest("PUT", url, io.MultiReader(strings.NewReader(first), rest))
	if err != nil {
		return err.Error()
	}
	if !chunked {
		request.ContentLength = length
	}
	request.Header.Set("X-Auth-Token", token)
	request.Header.Set("Content-Type", "application/octet-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err.Error()
	}
	return fmt.Sprint(response.StatusCode, " ", response.Header.Get("X-Imsgate-Reason"))
}

func main() {
	url, token := os.Args[1], os.Args[2]
	rounds, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	for round := 0; round < rounds; round++ {
		chunked := round%2 == 1
		fmt.Println("token", upload(url, "forged", "", 32*mib, chunked))
		fmt.Println("size", upload(url, token, "", 32*mib, chunked))
		fmt.Println("format", upload(url, token, "QFI\xfb", 12*mib, chunked))
	}
}
