onmessage = ({ data }) => {
  postMessage(`A worker that added them up: ${data.reduce((sum, number) => sum + number, 0)}`);
};
