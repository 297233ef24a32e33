// Lets asv's page open from the disk: a browser refuses XMLHttpRequest on file:// but loads scripts.
// Beside each X.json lies X.json.js, which hands its content to benchCoreFile.
(function () {
    var files = {};

    window.benchCoreFile = function (path, content) {
        files[path] = content;
    };

    $.ajax = function (options) {
        var url = options.url.split("?")[0];
        var answer = $.Deferred();
        if (!/\.json$/.test(url)) {
            // asv asks for an icon to learn whether its server still lives; there is none to die.
            return answer.resolve("").promise();
        }
        var script = document.createElement("script");
        script.src = url + ".js";
        script.onload = function () {
            // A copy, as each request would have parsed the file anew.
            answer.resolve(JSON.parse(JSON.stringify(files[decodeURIComponent(url)])));
        };
        script.onerror = function () {
            answer.reject();
        };
        document.head.appendChild(script);
        return answer.promise();
    };
})();
